// Package attack_test is a hostile client: it attacks the assembled broker over
// loopback sockets, with raw bytes, and ends by itself. Nothing here knows the
// broker's insides but its metrics and its log.
//
// What is claimed, and the test that would fail if it were not so:
//
//	Nobody enters without the right credentials          NobodyEntersWithoutCredentials
//	Empty lists of authenticators or policies refuse     NoAuthenticatorAndNoPolicyLetNothingThrough
//	Anonymous is who presents nothing, and no one else   AnonymousIsOnlyWhoPresentsNothing
//	Anonymous never owns what a named user owns          AnonymousNeverEqualsANamedPrincipal
//	Every failed CONNECT has the same bytes and floor    EveryFailedConnectLooksTheSame
//	An unknown user costs the same hash as a known one   AnUnknownUserCostsWhatAKnownOneCosts
//	A flood of wrong passwords locks nobody out          HashFloodFromOneAddressLocksNobodyOut
//	  nor do the attempts of a neighbour that wait       ANeighboursWaitingAttemptsLockNobodyOut
//	  a full queue says so, in every version             AFullQueueAnswersOlderClientsWith3
//	  prefixes share the pool, a /64 is one              ManyPrefixesShareThePoolFairly
//	A session is its principal's                         AForeignPrincipalCanNotTouchASession
//	Client ids can be bound to users                     ClientIDsAreBoundToUsers
//	Sessions are bounded by principal and in all         SessionsOfOnePrincipalAreBounded
//	  but strangers do not share one bound               AnonymousClientsDoNotShareABoundOfSessions
//	A connection that was taken over is powerless        ATakenOverConnectionCanDoNothingMore
//	A subscription is never wider than its grant         SubscriptionsBeyondTheGrantAreRefused
//	A deny inside a granted filter is withheld           ADenyInsideASubscriptionIsWithheld
//	A denied PUBLISH is answered and goes nowhere        DeniedPublishesAreAnsweredAndGoNowhere
//	  or ends the connection, as configured              ADeniedPublishCanEndTheConnection
//	A will is judged twice                               AWillIsJudgedAtConnectAndAgainWhenPublished
//	An alias is judged as the topic it stands for        ATopicAliasIsResolvedBeforeItIsJudged
//	A placeholder is one level and expanded once         PlaceholdersAreOneLevelAndExpandedOnce
//	A deny rule that can't be told refuses               ADenyRuleThatCanNotBeToldRefusesTheConnection
//	Mosquitto's rules open nothing                       MosquittosQuirksOpenNothing
//	Retained, queued, in flight, shared: judged again    WhatWaitsIsJudgedWhenItLeaves
//	A removed user goes, with will and cached password   ARemovedUserIsPutOutAndStaysOut
//	Whom the new chain would refuse goes                 WhoTheNewChainDoesNotKnowIsPutOut
//	A reload is judged like a start                      AReloadJudgesRisksLikeAStart
//	  and applies a setting or says that it can't        AReloadTakesNoDoorSettingInSilence
//	  and is taken whole or not at all                   ABrokenFileLeavesAllAsItWas
//	No CONNECT slips through a swap                      AConnectUnderWayDoesNotSlipThroughASwap
//	Nothing passes an acknowledged deny (2,000 swaps)    NothingPassesAnAcknowledgedDeny
//	What a stranger sends is bounded, at every door      EveryDoorBoundsWhatAStrangerSends
//	  in time, too                                       ASlowConnectIsCut
//	What a member sends is bounded, with its code        WhatAMemberSendsIsBoundedByName
//	Idle strangers meet the limit of connections         FiveHundredIdleConnectionsMeetTheLimit
//	Memory follows what came, not what was announced     AnnouncedBytesTakeNoMemory
//	A TLS flood disturbs nobody who is served            TLSGarbageAndHandshakeFloodsDisturbNobody
//	Half-open handshakes are bounded and displaced       ThousandsOfHalfOpenHandshakesKeepNobodyOut
//	  nor do those that cost work keep anybody out       HandshakesThatCostWorkKeepNobodyOut
//	A refused handshake has its alert and one event      EachRefusedHandshakeIsToldAndWrittenDown, OpenSSLIsToldTheSame,
//	                                                     TheDocumentationHasTheAlerts
//	Broken records end a handshake or a connection       BrokenRecordsEndAHandshake, BrokenRecordsEndAConnection,
//	                                                     RenegotiationIsRefused
//	Upgrades and frames are judged strictly              BadUpgradesAreRefused, BadFramesEndTheConnection,
//	                                                     FramesMayCutPacketsAnywhere
//	Answers that nobody reads do not pile up             APeerThatDoesNotReadCanNotPileUpAnswers
//	  nor do replays, retained bytes, flights, queues    ResubscribingHoldsNothingMore,
//	                                                     RetainedBytesAreBoundedWhenMessagesGrow,
//	                                                     BufferBytesBoundWhatIsInFlight, AnOfflineQueueIsBounded,
//	                                                     QoS2WithoutReleaseIsBounded
//	A scan of retained messages stalls no publisher      ScanningRetainedMessagesStallsNobody
//	A stalled reader is bounded and ended                AStalledReaderIsBoundedAndEnded
//	Names forge no log line and fill no log              NamesForgeNoLogLine, ALongNameDoesNotFillTheLog
//	No secret is ever logged                             NoSecretIsEverLogged
//	Every option of a configuration acts                 EveryOptionActs, SocketModeIsAsConfigured
//	Pages connect only where Origin allows it            WhichPagesMayConnect
//	Source addresses are judged unmapped, unread         ADenyListIsComparedWithUnmappedAddresses
//	An insecure start is refused by name                 AnInsecureStartIsRefusedByName
//	Files are the owner's alone, loose ones are told     FilesAreMadeForTheOwnerAlone, LooseFilesAreWarnedOfOrRefused
//	A broken file stops the start                        ABrokenFileStopsTheStart
//	A session brings no rights from elsewhere            ASessionBringsNoRightsFromAnotherListener
//	A rule grants one spelling, and no $ topic           ARuleGrantsOneSpellingOfATopic, AllTopicsAreNotTheDollarTopics
//	No rules allow nothing, to anonymous too             ARuleFileWithoutRulesAllowsNothing, AnonymousIsJudgedByTheRules
//	Share groups can be closed                           ShareGroupsCanBeClosed
//	A broken acl_file opens nothing                      ABrokenACLFileIsRefusedAtStartAndOnReload
//	A reload disturbs nobody who may stay                AReloadDisturbsNobodyWhoMayStay
//	Retained messages fall with their publisher          ARetainedMessageOfOneWhoMayLeaveItNoMoreIsWithheld
//	A certificate is its own name, and can be revoked    ACertificateIsItsOwnNameAndGrantsNothing,
//	                                                     ACertificateOfAnUnknownUserIsKeptOut,
//	                                                     ARevokedCertificateIsRefusedAtEveryDoor,
//	                                                     AnAuthorityThatWasTakenOutIsTrustedNoMore
//	Nobody forges its address                            AProxyHeaderFromAnyoneIsRefused, AForwardedForFieldIsNotBelieved
//	A default listener has its own rules                 TheDefaultListenerOfAMosquittoConfHasItsRules
//	Each known hole of other brokers has a test          EveryKnownHoleHasATest
//	Nothing is left behind, nothing panics               TestMain, and the end of every site
package attack_test

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// TestMain shows that the attacks leave nothing behind: when every broker has
// stopped, goroutines and open files are what they were before.
func TestMain(m *testing.M) {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close() // the runtime opens its own files with the first socket
	}
	goroutines, files := runtime.NumGoroutine(), openFiles()
	code := m.Run()
	end := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > goroutines || openFiles() > files {
		if time.Now().After(end) {
			fmt.Fprintf(os.Stderr, "%d goroutines and %d open files are left, at the beginning they were %d and %d\n",
				runtime.NumGoroutine(), openFiles(), goroutines, files)
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1) // it fails anyway
			code = 1
			break
		}
		runtime.GC() // nobody announces the end of a goroutine
		<-time.After(10 * time.Millisecond)
	}
	os.Exit(code)
}

// openFiles is the number of this process's descriptors, 0 where that can't be told.
func openFiles() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}
