package mosquitto

import "strings"

// Recognise decides by content whether data is a mosquitto.conf rather than
// YAML. The first line that says something decides: in a mosquitto.conf it is
// a name, a space and a value. A file of comments alone is one if a comment
// holds an option that was switched off, as in the file that Mosquitto ships.
func Recognise(data []byte) bool {
	const enough = 1 << 20
	text := string(data[:min(len(data), enough)])
	commented, option := false, known()
	for raw := range strings.Lines(strings.TrimPrefix(text, "\uFEFF")) {
		s := strings.TrimSpace(raw)
		if c, ok := strings.CutPrefix(s, "#"); ok {
			name, _, _ := strings.Cut(c, " ")
			commented = commented || option(name)
			continue
		}
		if s == "" {
			continue
		}
		name, _, _ := strings.Cut(s, " ")
		return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_.") == ""
	}
	return commented
}

// known makes a function that reports whether a name is an option of some Mosquitto.
func known() func(name string) bool {
	names := map[string]bool{"include_dir": true}
	for name := range options() {
		names[name] = true
	}
	for name := range strings.FieldsSeq(unsupported) {
		names[name] = true
	}
	return func(name string) bool {
		return names[name] || strings.HasPrefix(name, "plugin_opt_") || strings.HasPrefix(name, "auth_opt_") ||
			strings.HasPrefix(name, "bridge_")
	}
}

// unsupported names the options of Mosquitto 1.6 to 2.1 that are refused.
const unsupported = `
accept_protocol_versions address addresses allow_duplicate_messages auth_plugin auth_plugin_deny_special_chars
bind_interface cleansession clientid
connection disable_client_cert_date_checks enable_control_api enable_proxy_protocol global_max_clients
global_max_connections global_plugin http_dir idle_timeout keepalive_interval listener_allow_anonymous
listener_auto_id_prefix local_cleansession local_clientid local_password local_username log_facility log_timestamp
log_timestamp_format max_inflight_bytes max_topic_alias_broker maximum_qos memory_limit mount_point notification_topic
notifications notifications_local_only packet_buffer_size packet_max_auth packet_max_connect packet_max_simple
packet_max_sub packet_max_un password plugin plugin_load plugin_use proxy_protocol_v2_require_tls
psk_file psk_hint remote_clientid remote_password remote_username restart_timeout
retain_expiry_interval retry_interval round_robin socket_domain start_type threshold tls_engine
tls_engine_kpass_sha1 topic try_private upgrade_outgoing_qos
use_username_as_clientid username websockets_headers_size websockets_log_level websockets_origin`
