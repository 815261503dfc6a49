package main

import "fmt"

// How many topics of each sort there are.
const (
	plainTopics = 12
	extraTopics = 4
	keepTopics  = 8 // retained, shared by the publishers
	ownTopics   = 3 // retained, for each publisher
)

func plainTopic(i int) string            { return fmt.Sprintf("crash/plain/%d", i) }
func extraTopic(i int) string            { return fmt.Sprintf("crash/extra/%d", i) }
func keepTopic(i int) string             { return fmt.Sprintf("crash/keep/%d", i) }
func ownTopic(name string, i int) string { return fmt.Sprintf("crash/keep/%s-%d", name, i) }
