//! The worst an operator could write: each is refused with its key, its value, and what would be right.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::HashMap;

use mailtier_config::Config;

fn load(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mailtier.toml");
    std::fs::write(&path, text).unwrap();
    Config::load_with(Some(&path), HashMap::new()).map_err(|error| error.to_string())
}

/// Each text is refused with exactly this.
fn refused(cases: &[(&str, &str)]) {
    for (text, message) in cases {
        match load(text) {
            Ok(_) => panic!("{text}: taken"),
            Err(error) => assert_eq!(&error, message, "{text}"),
        }
    }
}

#[test]
fn words_that_are_none_are_shown_with_those_there_are() {
    refused(&[
        (
            "[[inbound.listeners]]\nname = \"x\"\nlisten = [\"127.0.0.1:110\"]\nprotocol = \"pop3\"",
            "`inbound.listeners[0].protocol` is `pop3`; expected `smtp`, `submission` or `lmtp`",
        ),
        (
            "[[inbound.listeners]]\nname = \"x\"\nlisten = [\"127.0.0.1:587\"]\nprotocol = \"submision\"",
            "`inbound.listeners[0].protocol` is `submision`; expected `smtp`, `submission` or `lmtp`; did you mean \
             `submission`?",
        ),
        (
            "[[inbound.listeners]]\nname = \"x\"\nlisten = [\"127.0.0.1:587\"]\ntls = \"starttls\"",
            "`inbound.listeners[0].tls` is `starttls`; expected `none`, `offered`, `required` or `implicit`",
        ),
        (
            "[[inbound.listeners]]\nname = \"x\"\nlisten = [\"127.0.0.1:587\"]\nlogin = \"OFF\"",
            "`inbound.listeners[0].login` is `OFF`; expected `off`, `offered` or `required`; did you mean `off`?",
        ),
        ("[inbound]\nhelo_own_name = \"deny\"", "`inbound.helo_own_name` is `deny`; expected `accept` or `refuse`"),
        ("[inbound]\nlines = true", "`inbound.lines` is `true`; expected `strict` or `normalize`"),
        (
            "[outbound]\ntls = \"require\"",
            "`outbound.tls` is `require`; expected `opportunistic`, `required`, `verified`, `dane` or `off`; did you mean \
             `required`?",
        ),
        ("[outbound]\nip_preference = \"v6\"", "`outbound.ip_preference` is `v6`; expected `both`, `ipv4` or `ipv6`"),
        (
            "[[outbound.routes]]\ndomain = \"*\"\nhosts = []\ntls = \"on\"",
            "`outbound.routes[0].tls` is `on`; expected `opportunistic`, `required`, `verified`, `dane` or `off`",
        ),
        ("[telemetry]\nlog_format = \"xml\"", "`telemetry.log_format` is `xml`; expected `json`, `text` or `postfix`"),
        (
            "[inbound]\nsasl_mechanisms = [\"CRAM-MD5\"]",
            "`inbound.sasl_mechanisms` holds `CRAM-MD5`; expected `SCRAM-SHA-256-PLUS`, `SCRAM-SHA-256`, `EXTERNAL`, \
             `OAUTHBEARER`, `XOAUTH2`, `PLAIN` or `LOGIN`",
        ),
    ]);
    let keywords = load("[inbound]\ndiscard_ehlo_keywords = [\"dsn\", \"CHUNKNIG\"]").unwrap_err();
    assert!(keywords.starts_with("`inbound.discard_ehlo_keywords` holds `CHUNKNIG`; expected `PIPELINING`, "));
    assert!(keywords.ends_with("`XCLIENT` or `XFORWARD`; did you mean `CHUNKING`?"), "{keywords}");
    assert!(load("[inbound]\ndiscard_ehlo_keywords = [\"FOO\"]").is_err());
}

#[test]
fn values_of_another_kind_are_shown_with_what_is_expected() {
    refused(&[
        (
            "[inbound]\nrelay_networks = [\"10.0.0.0/8\", \"1.2.3\"]",
            "`inbound.relay_networks[1]` is `1.2.3`; expected a network such as 192.0.2.0/24 or 2001:db8::/32, or a \
             single address",
        ),
        (
            "[[inbound.networks]]\nnetworks = [\"host.example\"]",
            "`inbound.networks[0].networks[0]` is `host.example`; expected a network such as 192.0.2.0/24 or \
             2001:db8::/32, or a single address",
        ),
        (
            "[inbound]\nrelay_domains = \"a.example\"",
            "`inbound.relay_domains` is `a.example`; expected a list, [\"…\", \"…\"]",
        ),
        (
            "[inbound]\nhttp_listen = \"9101\"",
            "`inbound.http_listen` is `9101`; expected an address with a port, such as 127.0.0.1:2525 or [::1]:2525",
        ),
        (
            "[outbound]\ndns_servers = [\"192.0.2.53\"]",
            "`outbound.dns_servers[0]` is `192.0.2.53`; expected an address with a port, such as 127.0.0.1:2525 or \
             [::1]:2525",
        ),
        (
            "[outbound]\nown_addresses = [\"mx\"]",
            "`outbound.own_addresses[0]` is `mx`; expected an address such as 192.0.2.1 or 2001:db8::1",
        ),
        ("[queue]\nlease = \"soon\"", "`queue.lease` is `soon`; expected a duration such as 500ms, 30s, 5m, 4h or 5d"),
        ("[queue]\nlease = 15", "`queue.lease` is `15`; expected a duration such as 500ms, 30s, 5m, 4h or 5d"),
        (
            "[inbound]\nmax_message_size = \"big\"",
            "`inbound.max_message_size` is `big`; expected a size such as 64KiB, 50MiB or 1GiB",
        ),
        ("[inbound]\nmax_errors = true", "`inbound.max_errors` is `true`; expected a whole number"),
        ("[inbound]\nmax_errors = 2.5", "`inbound.max_errors` is `2.5`; expected a whole number"),
        ("[inbound]\nmax_errors = -1", "`inbound.max_errors` is `-1`; expected a whole number, 0 or more"),
        ("[outbound]\nsmtp_port = 70000", "`outbound.smtp_port` is `70000`; expected a whole number from 0 to 65535"),
        ("[inbound]\nvrfy = \"maybe\"", "`inbound.vrfy` is `maybe`; expected true or false"),
        ("[inbound]\nhostname = [\"mx.example.com\"]", "`inbound.hostname` is a list; expected a text"),
        ("inbound = 5", "`inbound` is `5`; expected a section, `[inbound]`"),
        (
            "[inbound.listeners]\nname = \"x\"",
            "`inbound.listeners` is a table; expected tables, each `[[inbound.listeners]]`",
        ),
        ("[inbound]\noauth = \"yes\"", "`inbound.oauth` is `yes`; expected a table, `[inbound.oauth]`"),
        ("[queue]\nretry_jitter = \"some\"", "`queue.retry_jitter` is `some`; expected a number from 0 to 1"),
        (
            "[[inbound.listeners]]\nname = \"x\"\nlisten = [\"127.0.0.1:587\"]\nprotocl = \"lmtp\"",
            "unknown key `inbound.listeners[0].protocl`; did you mean `inbound.listeners[0].protocol`?",
        ),
        (
            "[[inbound.tenants]]\nmessages_per_hour = 5",
            "`inbound.tenants[0].id` is not set, and has no default; give it",
        ),
    ]);
}

#[test]
fn sections_that_make_no_sense_are_refused() {
    refused(&[
        ("[inbound]\ncommand_timeout = \"0s\"", "`inbound.command_timeout` is 0s; give 10s to 1d"),
        ("[inbound]\nsubmit_timeout = \"1h\"", "`inbound.submit_timeout` is 1h; give 1s to 5m"),
        ("[inbound]\nmax_sessions = 0", "`inbound.max_sessions` is 0; give at least 1"),
        ("[inbound]\nmax_errors = 0", "`inbound.max_errors` is 0; give at least 1"),
        ("[inbound]\nmax_recipients = 5", "`inbound.max_recipients` is 5; give 100 to 4096"),
        ("[inbound]\nmax_received_hops = 9", "`inbound.max_received_hops` is 9; give 10 to 1000"),
        ("[inbound]\ngreeting_delay = \"1h\"", "`inbound.greeting_delay` is 1h; give 0s to 30s"),
        ("[inbound]\nmemory_budget = 1", "`inbound.memory_budget` is 1 B; give 16MiB to 1TiB"),
        (
            "[inbound]\nmax_message_size = \"99999999999GiB\"",
            "`inbound.max_message_size` is 16.0 EiB; give 64KiB to 1GiB",
        ),
        ("[inbound]\nthreads = 1000000", "`inbound.threads` is 1000000; give 0 to 1024"),
        (
            "[inbound]\nrecipient_delimiter = \"@\"",
            "`inbound.recipient_delimiter` is `@`; give one of +-=_.#~^, or nothing for none",
        ),
        (
            "[inbound]\nrecipient_delimiter = \"+-\"",
            "`inbound.recipient_delimiter` is `+-`; give one of +-=_.#~^, or nothing for none",
        ),
        (
            "[inbound]\ntls_client_ca = \"ca.pem\"",
            "`inbound.tls_certificate` is missing for `inbound.tls_client_ca`; set both",
        ),
        ("[inbound]\ntls_key = \"key.pem\"", "`inbound.tls_certificate` is missing for `inbound.tls_key`; set both"),
        (
            "[inbound]\ntls_certificate = \"a\"\ntls_key = \"b\"\ntls_certificates = [\"c.pem:\"]",
            "`inbound.tls_certificates` holds `c.pem:`; expected chain.pem:key.pem",
        ),
        (
            "[inbound]\nhostname = \"pod-7f9c\"",
            "`inbound.hostname` is `pod-7f9c`; give a full host name such as mx.example.com",
        ),
        (
            "[inbound]\nhostname = \"mx..example\"",
            "`inbound.hostname` is `mx..example`; give a full host name such as mx.example.com",
        ),
        (
            "[inbound]\nqueue = [\"127.0.0.1:7070\"]",
            "`inbound.queue` holds `127.0.0.1:7070`; expected http://host:port, or https:// with TLS",
        ),
        ("[queue]\nrenew_every = \"10s\"", "`queue.renew_every` is 10s; give at most a third of `queue.lease`, 6s"),
        ("[queue]\nrenew_every = \"9999999999y\"", "`queue.renew_every` is 87659999991234h; give 100ms to 1d"),
        ("[queue]\nretry_first = \"1ns\"", "`queue.retry_first` is 1ns; give 100ms to 365d"),
        ("[queue]\nretry_first = \"2h\"", "`queue.retry_first` is 2h; give at most `queue.retry_max`, 4000s"),
        (
            "[[queue.retries]]\nclass = \"greylist\"\nfirst = \"1m\"",
            "`queue.retries[0].class` is `greylist`; expected `greylisted`, `throttled`, `mailbox_full`, `unreachable`, \
             `security` or `other`; did you mean `greylisted`?",
        ),
        (
            "[[queue.retries]]\nclass = \"other\"",
            "`queue.retries[0].first` is not set, nor is `max`: then nothing is said; set one",
        ),
        (
            "[[queue.retries]]\nclass = \"other\"\nmax = \"1m\"",
            "`queue.retries[0].max` does not fit `queue.retry_first`: the first wait would be 5m, and the longest 1m; set both",
        ),
        (
            "[[queue.destinations]]\ndomain = \"a.example\"\nretry_first = \"2h\"",
            "`queue.destinations[0].retry_first` does not fit `queue.retry_max`: the first wait would be 2h, and the longest \
             4000s; set both",
        ),
        ("[queue]\nretry_jitter = 1.5", "`queue.retry_jitter` is 1.5; give 0 to 1"),
        ("[queue]\nlogin_failure_window = \"0s\"", "`queue.login_failure_window` is 0s; give 1m to 365d"),
        ("[queue]\nlogin_failures_per_account = 0", "`queue.login_failures_per_account` is 0; give at least 1"),
        ("[queue]\nlogin_failures_per_client = 0", "`queue.login_failures_per_client` is 0; give at least 1"),
        ("[queue]\ncatch_up_every = \"0s\"", "`queue.catch_up_every` is 0s; give 100ms to 1d"),
        ("[queue]\nreconcile_every = \"0s\"", "`queue.reconcile_every` is 0s; give 1s to 365d"),
        ("[queue]\nevent_retention = \"1h\"", "`queue.event_retention` is 1h; give 1d to 36500d"),
        ("[queue]\nmax_entries_per_destination = 0", "`queue.max_entries_per_destination` is 0; give at least 1"),
        ("[queue]\ninline_body = \"1GiB\"", "`queue.inline_body` is 1GiB; give 0 B to 16MiB"),
        (
            "[queue]\nadvertise = \"queue-1\"",
            "`queue.advertise` is `queue-1`; expected host:port, as other replicas reach this one",
        ),
        ("[queue]\nname = \"\"", "`queue.name` is ``; give a text of one line"),
        (
            "[queue]\nlisten = \"0.0.0.0:7070\"",
            "`queue.listen` is 0.0.0.0:7070, which others can reach: set `cluster.secret_file` or, for TLS, \
             `cluster.tls_certificate`; or listen on loopback",
        ),
        (
            "[cluster]\ntls_required = false\ntls_certificate = \"a\"\ntls_key = \"b\"\ntls_ca = \"c\"\n[queue]\nlisten = \
             \"0.0.0.0:7070\"",
            "`queue.listen` is 0.0.0.0:7070, which others can reach: set `cluster.secret_file` or, for TLS, \
             `cluster.tls_certificate`; or listen on loopback",
        ),
        (
            "[cluster]\ntls_certificate = \"a\"\ntls_ca = \"c\"",
            "`cluster.tls_key` is not set, but `cluster.tls_certificate` is: give all three of TLS between the programs, or \
             none",
        ),
        (
            "[cluster]\ntls_ca = \"c\"",
            "`cluster.tls_certificate` is not set, but `cluster.tls_ca` is: give all three of TLS between the programs, or none",
        ),
        (
            "[queue]\napi_tls_certificate = \"a\"",
            "`queue.api_tls_key` is not set, but `queue.api_tls_certificate` is; give both",
        ),
        (
            "[queue]\nhttp_listen = \"127.0.0.1:7070\"",
            "`queue.http_listen` is 127.0.0.1:7070, but `queue.listen` has 127.0.0.1:7070: only one can listen there; give \
             it another port",
        ),
        ("[outbound]\nmax_connections = 0", "`outbound.max_connections` is 0; give 1 to 1048576"),
        ("[outbound]\ndeliveries_per_connection = 0", "`outbound.deliveries_per_connection` is 0; give at least 1"),
        ("[outbound]\nsmtp_port = 0", "`outbound.smtp_port` is 0; give 1 to 65535"),
        ("[outbound]\nconnect_timeout = \"0s\"", "`outbound.connect_timeout` is 0s; give 1s to 10m"),
        ("[outbound]\ndns_timeout = \"1ms\"", "`outbound.dns_timeout` is 1ms; give 100ms to 1m"),
        (
            "[outbound]\ntrust_anchors = \"/etc/root.key\"",
            "`outbound.trust_anchors` is set, but `outbound.dnssec` is `resolver`: the name servers' own anchors count; give \
             `own`, or leave this out",
        ),
        ("[outbound]\nmemory_budget = 0", "`outbound.memory_budget` is 0 B; give 16MiB to 1TiB"),
        (
            "[outbound]\nown_names = [\"mx host\"]",
            "`outbound.own_names` holds `mx host`; expected a host name such as mx.example.com",
        ),
        (
            "[outbound]\nroutes = [{ domain = \"\", hosts = [\"a\"] }]",
            "`outbound.routes[0].domain` cannot be used: \"\" is not a domain of a route: expected example.com, \
             .example.com for what is below it, or *",
        ),
        (
            "[[queue.sites]]\nexchangers = [\"mx.a.example\"]\nprovider = \"big\"",
            "`queue.sites[0].provider` is `big`, but there is no provider: see [[queue.providers]]",
        ),
        (
            "[[queue.providers]]\nname = \"big\"\nexchangers = [\"b\"]\n[[queue.sites]]\nexchangers = [\"A.example\", \
             \"a.example\"]\nprovider = \"big\"",
            "`queue.sites[0].exchangers` holds `a.example` again; keep one",
        ),
        ("[database]\nmax_connections = 0", "`database.max_connections` is 0; give 1 to 262143"),
        ("[database]\nstatement_timeout = \"0s\"", "`database.statement_timeout` is 0s; give 1s to 1d"),
        (
            "[database]\nurl = \"mysql://me:hidden@host/db\"",
            "`database.url` is no URL of PostgreSQL; expected postgres://user@host/database",
        ),
        ("[cluster]\nsecret = \"\"", "`cluster.secret` is empty; give it a value, or leave it out"),
        (
            "[cluster]\nsecret = \"gehe\\tim\"",
            "`cluster.secret` has characters that cannot be sent; use letters and digits on one line",
        ),
        (
            "[telemetry]\notlp_endpoint = \"collector\"",
            "`telemetry.otlp_endpoint` is `collector`; expected a URL such as http://collector:4317",
        ),
        ("[telemetry]\ntrace_sample_ratio = nan", "`telemetry.trace_sample_ratio` is NaN; give 0 to 1"),
    ]);
}

#[test]
fn tables_that_make_no_sense_are_refused() {
    let listener = "[[inbound.listeners]]\nname = \"x\"\nlisten = [\"127.0.0.1:2626\"]\n";
    let with = |rest: &str| format!("{listener}{rest}");
    let network = |rest: &str| format!("[[inbound.networks]]\nnetworks = [\"192.0.2.0/24\"]\n{rest}");
    let ahead = |domains: &str| {
        format!(
            "[inbound]\nrelay_domains = [\"ours.example\"]\n[[inbound.call_ahead]]\nserver = \"mx:25\"\ndomains = {domains}"
        )
    };
    let long = "x".repeat(401);
    let cases = [
        (
            "[inbound]\nlisten = [\"127.0.0.1:25\", \"127.0.0.1:25\"]".to_owned(),
            "`inbound.listen[1]` is 127.0.0.1:25, but `inbound.listen[0]` has 127.0.0.1:25: only one can listen there; give it \
             another port",
        ),
        (
            format!("[inbound]\nlisten = [\"0.0.0.0:2626\"]\n{listener}"),
            "`inbound.listeners[0].listen[0]` is 127.0.0.1:2626, but `inbound.listen[0]` has 0.0.0.0:2626: only one can listen \
             there; give it another port",
        ),
        (
            format!("[inbound]\nhttp_listen = \"127.0.0.1:2626\"\n{listener}"),
            "`inbound.listeners[0].listen[0]` is 127.0.0.1:2626, but `inbound.http_listen` has 127.0.0.1:2626: only one can \
             listen there; give it another port",
        ),
        (with("greeting_delay = \"31s\""), "`inbound.listeners[0].greeting_delay` is 31s; give 0s to 30s"),
        (with("max_message_size = 1"), "`inbound.listeners[0].max_message_size` is 1 B; give 64KiB to 1GiB"),
        (
            with("tls = \"required\""),
            "`inbound.listeners[0].tls` needs TLS on listener `x`; set `inbound.tls_certificate`",
        ),
        (
            "[[inbound.listeners]]\nname = \"smtp\"\nlisten = [\"127.0.0.1:2626\"]".to_owned(),
            "`inbound.listeners[0].name` is `smtp`, which another has; give each a name of its own (`smtp` is that of \
             `inbound.listen`)",
        ),
        (
            "[[inbound.listeners]]\nname = \"x\"\nprotocol = \"lmtp\"\nlisten = [\"127.0.0.1:25\"]".to_owned(),
            "`inbound.listeners[0].listen` holds 127.0.0.1:25, but LMTP is never on port 25 (RFC 2033); take another",
        ),
        (
            "[inbound]\nrelay_networks = [\"128.0.0.0/1\"]".to_owned(),
            "`inbound.relay_networks` holds 128.0.0.0/1: that is an open relay; name your own networks only",
        ),
        (
            "[inbound]\nrelay_domains = [\"*\"]".to_owned(),
            "`inbound.relay_domains` holds `*`: domain is not valid; expected example.com, or .example.com for all below it",
        ),
        (
            "[inbound]\npostmaster = \"admin\"".to_owned(),
            "`inbound.postmaster` is `admin`: address has no @ and domain",
        ),
        (
            network("refuse = \"\""),
            "`inbound.networks[0].refuse` is `` (0 octets); give a line of 1 to 400 printable ASCII characters",
        ),
        (
            network("refuse = \"geh weg, übel\""),
            "`inbound.networks[0].refuse` is `geh weg, übel` (14 octets); give a line of 1 to 400 printable ASCII characters",
        ),
        (
            network("refuse = \"no\\r\\n250 yes\""),
            "`inbound.networks[0].refuse` is `no\\r\\n250 yes` (11 octets); give a line of 1 to 400 printable ASCII characters",
        ),
        (network("greeting_delay = \"1h\""), "`inbound.networks[0].greeting_delay` is 1h; give 0s to 30s"),
        (
            format!("{}\n{}", network(""), network("")),
            "`inbound.networks[1].networks` holds 192.0.2.0/24, which an earlier `[[inbound.networks]]` has; keep one",
        ),
        (
            "[[inbound.tenants]]\nid = 7\n[[inbound.tenants]]\nid = 7".to_owned(),
            "`inbound.tenants[1].id` is 7, which an earlier tenant has; give each a number of its own",
        ),
        (ahead("[]"), "`inbound.call_ahead[0].domains` is empty; name the domains whose recipients the server knows"),
        (
            ahead("[\"other.example\"]"),
            "`inbound.call_ahead[0].domains` holds `other.example`, which is not in `inbound.relay_domains`; add it there",
        ),
        (ahead("[\"ours.example\"]\ntimeout = \"0s\""), "`inbound.call_ahead[0].timeout` is 0s; give 100ms to 2m"),
        (
            "[inbound.oauth]\nissuer = \"\"\naudience = \"mail\"".to_owned(),
            "`inbound.oauth.issuer` is empty: tokens for anybody, by anybody, would be taken; give it",
        ),
    ];
    for (text, message) in &cases {
        refused(&[(text, message)]);
    }
    let refusal = load(&network(&format!("refuse = \"{long}\""))).unwrap_err();
    assert!(refusal.contains("xxx…` (401 octets)"), "{refusal}");
}

#[test]
fn what_is_merely_unusual_is_taken() {
    for text in [
        "[inbound]\nrelay_networks = [\"192.0.2.1\", \"2001:db8::1\", \"fc00::/7\"]",
        "[inbound]\nrecipient_delimiter = \"\"",
        "[inbound]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]",
        "[inbound]\nlisten = [\"0.0.0.0:25\", \"[::]:25\"]",
        "[inbound]\nmax_transactions = 0\nclient_sessions = 0\nmemory_budget = 0\nmax_hold = \"0s\"",
        "[inbound]\ndiscard_ehlo_keywords = [\"chunking\", \"DSN\"]",
        "[[inbound.tenants]]\nid = 0",
        "[queue]\nlifetime = \"2s\"\nretry_first = \"300ms\"\nretry_max = \"1s\"\nbody_cache = 0",
        "[queue]\nlease = \"3s\"\nrenew_every = \"500ms\"\nworker_grace = \"2s\"\ndrain_timeout = \"0s\"",
        "[outbound]\nidle_timeout = \"0s\"\nidle_connections = 0",
        "[[outbound.routes]]\ndomain = \"example.com\"\nhosts = []",
        "[[outbound.routes]]\nsender = \"<>\"\nhosts = [\"a | b:26\", \"c\"]\nuser = \"u\"\npassword = \"p\"",
        "[[outbound.routes]]\nvia = \"lmtp\"\nhosts = [\"unix:/run/lmtp\"]",
        "[[outbound.routes]]\nurl = \"https://hooks.example/in?x=1\"\ntoken = \"t\"\nsigning_key = \"k\"",
        "[[outbound.routes]]\nurl = \"http://[::1]:8080/in\"\ntoken = \"t\"",
        "[[outbound.routes]]\nurl = \"http://hooks.internal/in\"",
        "[outbound]\nqueue = [\"http://queue.mail.svc.cluster.local.:7070\", \"http://[::1]:7070\"]",
    ] {
        assert_eq!(load(text).err(), None, "{text}");
    }
}

#[test]
fn programs_of_one_machine_do_not_listen_at_one_place() {
    assert!(Config::default().check_one_machine().is_ok());
    let config = load("[outbound]\nhttp_listen = \"127.0.0.1:7070\"").unwrap();
    let error = config.check_one_machine().unwrap_err().to_string();
    assert!(error.contains("`outbound.http_listen`") && error.contains("`queue.listen`"), "{error}");
}

const PROVIDER: &str = "[[queue.providers]]\nname = \"google\"\nexchangers = [\"google.com\"]\n";
const POOLS: &str = "[[queue.pools]]\nname = \"main\"\n[[queue.pools]]\nname = \"new-1\"\noverflow = \"main\"\n\
                     warm_up = { began = \"2026-11-20\", per_day = [50, 100] }\n";

#[test]
fn egress_pools_that_cannot_work_are_refused() {
    let pools = |text: &str| format!("{POOLS}{text}");
    let cases = [
        (
            "[[queue.pools]]\nconcurrency = 1".to_owned(),
            "`queue.pools[0].name` is not set, and has no default; give it",
        ),
        (
            "[[queue.pools]]\nname = \"new pool\"".to_owned(),
            "`queue.pools[0].name` is `new pool`; give 1 to 64 letters, digits, `-`, `_` and `.`, such as warm-1",
        ),
        (pools("[[queue.pools]]\nname = \"main\""), "`queue.pools[2].name` is `main` again; keep one"),
        (pools("[[queue.pools]]\nname = \"x\"\nconcurrency = 0"), "`queue.pools[2].concurrency` is 0; give at least 1"),
        (
            pools("[[queue.pools]]\nname = \"x\"\noverflow = \"main\""),
            "`queue.pools[2].overflow` is set without `warm_up`: it takes what is beyond the deliveries of a day; give both \
             or neither",
        ),
        (
            POOLS.replace("overflow = \"main\"", "overflow = \"mian\""),
            "`queue.pools[1].overflow` is `mian`; expected `main`, `new-1` or `default`; did you mean `main`?",
        ),
        (
            POOLS.replace("overflow = \"main\"", "overflow = \"new-1\""),
            "`queue.pools[1].overflow` leads in a circle: new-1 → new-1; let one of them do without",
        ),
        (
            pools(
                "[[queue.pools]]\nname = \"a\"\noverflow = \"default\"\nwarm_up = { began = \"2026-11-20\", per_day = [1] }\n\
                 [[queue.pools]]\nname = \"default\"\noverflow = \"a\"\nwarm_up = { began = \"2026-11-20\", per_day = [1] }",
            ),
            "`queue.pools[2].overflow` leads in a circle: a → default → a; let one of them do without",
        ),
        (
            POOLS.replace("2026-11-20", "2026-11-31"),
            "`queue.pools[1].warm_up.began` is `2026-11-31`; expected a day such as 2026-11-20",
        ),
        (
            POOLS.replace("[50, 100]", "[]"),
            "`queue.pools[1].warm_up.per_day` is empty; give the deliveries of each day, such as [50, 100, 500]",
        ),
        (POOLS.replace("[50, 100]", "[50, 0]"), "`queue.pools[1].warm_up.per_day` is 0; give at least 1"),
        (
            POOLS.replace("[50, 100]", "[50, \"many\"]"),
            "`queue.pools[1].warm_up.per_day[1]` is `many`; expected a whole number",
        ),
        (
            POOLS.replace("per_day", "per_dya"),
            "unknown key `queue.pools[1].warm_up.per_dya`; did you mean `queue.pools[1].warm_up.per_day`?",
        ),
        (
            POOLS.replace("began = \"2026-11-20\", ", ""),
            "`queue.pools[1].warm_up.began` is not set, and has no default; give it",
        ),
    ];
    for (text, message) in &cases {
        refused(&[(text, message)]);
    }
    let taken = load(&pools("")).unwrap();
    let days = &taken.queue.pools[1].warm_up.as_ref().unwrap().per_day;
    assert_eq!((days.as_slice(), taken.queue.unused_pools()), ([50, 100].as_slice(), vec!["main", "new-1"]));
    // A date of TOML's own is one, too.
    assert!(load(&POOLS.replace("\"2026-11-20\"", "2026-11-20")).is_ok());
}

#[test]
fn rules_of_pools_that_never_count_are_refused() {
    let rules = |text: &str| format!("{PROVIDER}{POOLS}{text}");
    let cases = [
        (
            rules("[[queue.pool_rules]]\npool = \"nwe-1\""),
            "`queue.pool_rules[0].pool` is `nwe-1`; expected `main`, `new-1` or `default`; did you mean `new-1`?",
        ),
        (
            rules("[[queue.pool_rules]]\ntenant = 7"),
            "`queue.pool_rules[0].pool` is not set, and has no default; give it",
        ),
        (
            rules("[[queue.pool_rules]]\npool = \"main\"\ntenant = -1"),
            "`queue.pool_rules[0].tenant` is -1; give a number from 0 (mail of nobody else) up",
        ),
        (
            rules("[[queue.pool_rules]]\npool = \"main\"\nprovider = \"gogle\""),
            "`queue.pool_rules[0].provider` is `gogle`; expected `google`; did you mean `google`?",
        ),
        (
            format!("{POOLS}[[queue.pool_rules]]\npool = \"main\"\nprovider = \"google\""),
            "`queue.pool_rules[0].provider` is `google`, but there is no provider: see [[queue.providers]]",
        ),
        (
            rules("[[queue.pool_rules]]\npool = \"main\"\n[[queue.pool_rules]]\npool = \"new-1\"\ntenant = 7"),
            "`queue.pool_rules[1]` never counts: `queue.pool_rules[0]` fits all that this would; put it after",
        ),
        (
            rules(
                "[[queue.pool_rules]]\npool = \"main\"\ndestination = \"Bücher.example\"\n\
                 [[queue.pool_rules]]\npool = \"new-1\"\ndestination = \"xn--bcher-kva.example\"",
            ),
            "`queue.pool_rules[1]` never counts: `queue.pool_rules[0]` fits all that this would; put it after",
        ),
    ];
    for (text, message) in &cases {
        refused(&[(text, message)]);
    }
    let unused = |text: &str| load(&rules(text)).unwrap().queue.unused_pools().join(" ");
    assert_eq!(unused("[[queue.pool_rules]]\npool = \"new-1\"\ntenant = 7"), "", "what overflows is used");
    assert_eq!(unused("[[queue.pool_rules]]\npool = \"main\"\nsender_domain = \".example.com\""), "new-1");
    assert_eq!(unused("[[queue.pools]]\nname = \"default\"\n[[queue.pool_rules]]\npool = \"new-1\""), "default");
}

#[test]
fn pools_of_a_worker_that_cannot_work_are_refused() {
    let pool = |text: &str| format!("[[outbound.pools]]\nname = \"main\"\n{text}");
    let cases = [
        (
            format!("{POOLS}[[outbound.pools]]\nname = \"mein\""),
            "`outbound.pools[0].name` is `mein`; expected `main`, `new-1` or `default`; did you mean `main`?",
        ),
        (pool("[[outbound.pools]]\nname = \"main\""), "`outbound.pools[1].name` is `main` again; keep one"),
        (
            pool("ehlo_name = \"pod-1\""),
            "`outbound.pools[0].ehlo_name` is `pod-1`; give a full host name such as mx.example.com",
        ),
        (
            pool("source_ipv4 = [\"2001:db8::1\"]"),
            "`outbound.pools[0].source_ipv4[0]` is `2001:db8::1`; expected an IPv4 address such as 192.0.2.1",
        ),
        (
            pool("source_ipv6 = [\"192.0.2.1\"]"),
            "`outbound.pools[0].source_ipv6[0]` is `192.0.2.1`; expected an IPv6 address such as 2001:db8::1",
        ),
        (
            pool("source_ipv4 = [\"192.0.2.1\", \"192.0.2.1\"]"),
            "`outbound.pools[0].source_ipv4` holds `192.0.2.1` twice; name it once",
        ),
        (
            pool("source_ipv4 = [\"192.0.2.1\"]\naddresses = [{ address = \"192.0.2.1\" }]"),
            "`outbound.pools[0].addresses[0].address` is `192.0.2.1` again; keep one",
        ),
        (
            pool("addresses = [{ address = \"192.0.2.1\" }, { weight = 2 }]"),
            "`outbound.pools[0].addresses[1].address` is not set, and has no default; give it",
        ),
        (
            pool("addresses = [{ address = \"mx\" }]"),
            "`outbound.pools[0].addresses[0].address` is `mx`; expected an address such as 192.0.2.1 or 2001:db8::1",
        ),
        (
            pool("addresses = [{ address = \"192.0.2.1\", wieght = 2 }]"),
            "unknown key `outbound.pools[0].addresses[0].wieght`; did you mean `outbound.pools[0].addresses[0].weight`?",
        ),
        (
            pool("addresses = [{ address = \"192.0.2.1\", weight = 1001 }]"),
            "`outbound.pools[0].addresses[0].weight` is 1001; give 0 to 1000",
        ),
        (
            pool("addresses = [{ address = \"192.0.2.1\", ehlo_name = \"pod-1\" }]"),
            "`outbound.pools[0].addresses[0].ehlo_name` is `pod-1`; give a full host name such as mx.example.com",
        ),
        (
            pool("addresses = [{ address = \"192.0.2.1\", weight = 0 }]"),
            "`outbound.pools[0].addresses` have all the weight 0: nothing could be sent; give one more, or have this worker \
             not serve the pool",
        ),
        (
            pool("client_key = \"a.key\""),
            "`outbound.pools[0].client_certificate` is not set, beside `client_key`; give both or neither",
        ),
        (
            pool("proxy = { server = \"192.0.2.1:1080\" }"),
            "`outbound.pools[0].proxy.protocol` is not set, and has no default; give it",
        ),
        (
            pool("proxy = { protocol = \"socks4\", server = \"192.0.2.1:1080\" }"),
            "`outbound.pools[0].proxy.protocol` is `socks4`; expected `socks5`, `proxy-v1` or `proxy-v2`; did you mean \
             `socks5`?",
        ),
        (
            pool("proxy = { protocol = \"socks5\", server = \"0.0.0.0:1080\" }"),
            "`outbound.pools[0].proxy.server` is nowhere; expected an address with a port, such as 192.0.2.1:1080",
        ),
        (
            pool("source_ipv4 = [\"192.0.2.1\"]\nproxy = { protocol = \"socks5\", server = \"192.0.2.9:1080\" }"),
            "`outbound.pools[0].proxy.protocol` is `socks5`, whose connections leave from the proxy's own addresses: leave \
             out those of the pool",
        ),
        (
            pool("proxy = { protocol = \"proxy-v2\", server = \"192.0.2.9:1080\" }"),
            "`outbound.pools[0].proxy.protocol` has the proxy told from which address to connect, and the pool has none: \
             give some, such as source_ipv4 = [\"192.0.2.1\"]",
        ),
        (
            pool("proxy = { protocol = \"socks5\", server = \"192.0.2.9:1080\", password = \"p\" }"),
            "`outbound.pools[0].proxy.user` is not set, beside a password; say whose it is",
        ),
        (
            pool("proxy = { protocol = \"socks5\", server = \"192.0.2.9:1080\", user = \"u\" }"),
            "`outbound.pools[0].proxy.password` is not set, beside `user`; give it or `password_file`",
        ),
        (
            pool("source_ipv4 = [\"0.0.0.0\"]"),
            "`outbound.pools[0].source_ipv4` holds `0.0.0.0`, which no connection can come from; give an address of this \
             host",
        ),
        (
            format!("[outbound]\nip_preference = \"ipv6\"\n{}", pool("source_ipv4 = [\"192.0.2.1\"]")),
            "`outbound.pools[0].source_ipv6` is not set, and `outbound.ip_preference` is `ipv6`: nothing could be sent; \
             give one",
        ),
    ];
    for (text, message) in &cases {
        refused(&[(text, message)]);
    }
    assert!(load(&pool("source_ipv4 = [\"192.0.2.1\"]")).is_ok(), "a worker's file need not have the queue's tables");
}

#[test]
fn routes_that_cannot_be_meant_so() {
    for (route, expected) in [
        (
            "via = \"smpt\"",
            "`outbound.routes[0].via` is `smpt`; expected `mx`, `smtp`, `lmtp`, `http`, `discard` or `hold`; did you mean `smtp`?",
        ),
        ("via = \"lmtp\"", "`outbound.routes[0].hosts` cannot be used: names no host"),
        (
            "via = \"hold\"\nhosts = [\"a\"]",
            "`outbound.routes[0].hosts` is for `smtp` and `lmtp` alone, and this route is `hold`",
        ),
        ("via = \"http\"", "`outbound.routes[0].url` is not set"),
        ("hosts = [\"a\"]\nexchangers_of = \"b.example\"", "`outbound.routes[0].exchangers_of` is for `mx` alone"),
        ("hosts = [\"a\"]\ntoken = \"t\"", "`outbound.routes[0].token` is for `http` alone"),
        ("via = \"discard\"\ntls = \"off\"", "`outbound.routes[0].tls` is for `mx`, and hosts"),
        (
            "via = \"lmtp\"\nhosts = [\"unix:/a\"]\nuser = \"u\"",
            "`outbound.routes[0].user` is for hosts of `smtp` and `lmtp` alone",
        ),
        ("hosts = [\"a\"]\nuser = \"u\"", "`outbound.routes[0].password` is not set, beside `user`"),
        ("hosts = [\"a\"]\npassword = \"p\"", "`outbound.routes[0].user` is not set, beside a password"),
        (
            "hosts = [\"a\"]\nuser = \"u\"\npassword = \"p\"\npassword_file = \"f\"",
            "`outbound.routes[0].password` and `outbound.routes[0].password_file` are both set",
        ),
        ("hosts = [\"a\"]\nuser = \"\"\npassword = \"p\"", "`outbound.routes[0].user` is empty"),
        (
            "hosts = [\"a\"]\nuser = \"u\"\npassword = \"p\"\ntls = \"opportunistic\"",
            "`outbound.routes[0].tls` lets messages go without TLS, and the password with them",
        ),
        (
            "hosts = [\"a\"]\nuser = \"u\"\npassword = \"p\"\nsasl_mechanisms = [\"CRAM-MD5\"]",
            "`outbound.routes[0].sasl_mechanisms` holds `CRAM-MD5`; expected `SCRAM-SHA-256`, `PLAIN`, `LOGIN` or `EXTERNAL`",
        ),
        (
            "hosts = [\"a\"]\nsasl_mechanisms = [\"EXTERNAL\"]",
            "`outbound.routes[0].sasl_mechanisms` holds `EXTERNAL`, which needs a certificate; set `client_certificate`",
        ),
        (
            "hosts = [\"a\"]\nsasl_mechanisms = [\"EXTERNAL\"]\nclient_certificate = \"c\"\nclient_key = \"k\"\npassword = \"p\"",
            "`outbound.routes[0].password` is of no use with `EXTERNAL` alone",
        ),
        ("hosts = [\"a\"]\nclient_certificate = \"c\"", "`outbound.routes[0].client_key` is not set, beside"),
        (
            "hosts = [\"a\"]\ntls = \"off\"\nclient_certificate = \"c\"\nclient_key = \"k\"",
            "`outbound.routes[0].client_certificate` is set, and `tls` is `off`",
        ),
        ("via = \"mx\"\nimplicit_tls = true", "`outbound.routes[0].implicit_tls` is for `smtp` alone"),
        (
            "hosts = [\"a\"]\nimplicit_tls = true\ntls = \"opportunistic\"",
            "`outbound.routes[0].implicit_tls` is set, and `tls` lets messages go in clear",
        ),
        ("hosts = [\"a\"]\nsasl_mechanisms = [\"PLAIN\"]", "`outbound.routes[0].sasl_mechanisms` is for logins"),
        ("url = \"ftp://a\"", "`outbound.routes[0].url` is `ftp://a`; expected https://host/path"),
        ("url = \"https://u:hidden@a/\"", "`outbound.routes[0].url` is"),
        ("url = \"https:///x\"", "`outbound.routes[0].url` is `https:///x`; expected"),
        (
            "url = \"http://hooks.example/\"\ntoken = \"t\"",
            "`outbound.routes[0].url` is `http://hooks.example/`, and the token would go there in clear",
        ),
        ("url = \"https://a/\"\ntimeout = \"1ms\"", "`outbound.routes[0].timeout` is 1ms; give 1s to 10m"),
        (
            "domain = \"a.example\"\nrecipient = \"b@a.example\"\nvia = \"hold\"",
            "`outbound.routes[0].domain` cannot be used: is set beside `recipient`",
        ),
        (
            "via = \"hold\"\n[[outbound.routes]]\nvia = \"discard\"",
            "`outbound.routes[1]` cannot be used: there are two routes for all mail",
        ),
    ] {
        let problem = load(&format!("[[outbound.routes]]\n{route}")).unwrap_err();
        assert!(problem.starts_with(expected), "{route}: {problem}");
    }
}

#[test]
fn what_comes_back_can_be_known_and_lists_name_what_is_against_a_recipient() {
    let key = "0123456789abcdef0123456789abcdef";
    let signed = |more: &str| {
        format!("[feedback]\nreturn_path_domain = \"bounces.example.com\"\nreturn_path_keys = \"{key}\"\n{more}")
    };
    let cases = [
        (
            "[feedback]\nreturn_path_domain = \"bounces.example.com\"".to_owned(),
            "`feedback.return_path_domain` is set, and there are no keys; name their file in \
             `feedback.return_path_keys_file`",
        ),
        (
            format!("[feedback]\nreturn_path_keys = \"{key}\""),
            "`feedback.return_path_domain` is not set, and there are keys; give it, or take them out",
        ),
        (
            "[feedback]\nreturn_path_users = [\"*\"]".to_owned(),
            "`feedback.return_path_domain` is not set, and tenants or users are to have signed return paths; give it",
        ),
        (
            signed("return_path_tenants = [7, 0]"),
            "`feedback.return_path_tenants` holds 0, to whom belongs what strangers send: their bounces would never reach \
             them; name users in `feedback.return_path_users` (`*` for all who log in), or give your networks a tenant",
        ),
        (signed("return_path_lifetime = \"1h\""), "`feedback.return_path_lifetime` is 1h; give 1d to 365d"),
        (
            "[feedback]\nreport_addresses = [\"fbl\"]".to_owned(),
            "`feedback.report_addresses` holds `fbl`: address has no @ and domain",
        ),
        ("[suppression]\nmode = \"on\"".to_owned(), "`suppression.mode` is `on`; expected `off`, `reject` or `fail`"),
        (
            "[suppression]\nbounce_classes = [\"spam\"]".to_owned(),
            "`suppression.bounce_classes` holds `spam`; expected `invalid_mailbox`, `invalid_domain` or \
             `inactive_mailbox`",
        ),
        (
            "[[suppression.tenants]]\nid = 7".to_owned(),
            "`suppression.tenants[0].mode` is not set, and has no default; give it",
        ),
        (
            "[[suppression.tenants]]\nid = 7\nmode = \"off\"\n[[suppression.tenants]]\nid = 7\nmode = \"fail\""
                .to_owned(),
            "`suppression.tenants[1].id` is 7 again; keep one",
        ),
    ];
    for (text, message) in &cases {
        refused(&[(text, message)]);
    }
    assert!(load(&signed("return_path_tenants = [7]\nreturn_path_users = [\"*\"]")).is_ok());
}

#[test]
fn reports_of_tls_have_a_sender_a_name_and_a_key_of_their_domain() {
    let with =
        |more: &str| format!("[tls_reports]\nsender = \"tls@mail.example.com\"\norganization = \"Example\"\n{more}");
    let cases = [
        (
            "[tls_reports]\norganization = \"Example\"".to_owned(),
            "`tls_reports.sender` is not set, and other keys of `[tls_reports]` are; give it, or take them out",
        ),
        (
            "[tls_reports]\nsender = \"tls@example.com\"".to_owned(),
            "`tls_reports.organization` is not set, and `tls_reports.sender` is; give it",
        ),
        (with(""), "`tls_reports.dkim_selector` is not set, and `tls_reports.sender` is; give it"),
        (
            with("dkim_selector = \"s1\"\ndkim_domain = \"other.example\""),
            "`tls_reports.dkim_domain` is `other.example`, and the sender's domain `mail.example.com` is neither that nor \
             below it",
        ),
        (with("contact = \"a\\nb\"\ndkim_selector = \"s1\""), "`tls_reports.contact` is `a\\nb`"),
    ];
    for (text, message) in &cases[..4] {
        refused(&[(text, message)]);
    }
    assert!(load(&cases[4].0).unwrap_err().to_string().starts_with(cases[4].1));
    let config = load(&with("dkim_selector = \"s1\"\ndkim_domain = \"example.com\"")).unwrap();
    let settings = config.tls_reports.settings().unwrap().unwrap();
    assert_eq!((settings.contact.as_str(), settings.dkim_domain.as_str()), ("tls@mail.example.com", "example.com"));
    let error = config.tls_reports.signing_key().unwrap_err().to_string();
    assert!(error.contains("name its file in `tls_reports.dkim_key_file`"), "{error}");
}

/// Only the program whose key it is asks: others' keys may be as they are by default.
#[test]
fn the_way_to_the_queue_fits_its_tls() {
    let tls = "tls_certificate = \"a\"\ntls_key = \"b\"\ntls_ca = \"c\"\n";
    let way = |cluster: &str, scheme: &str| {
        load(&format!("[cluster]\n{cluster}[outbound]\nqueue = [\"{scheme}://q:7070\"]"))
            .unwrap()
            .check_outbound_queue()
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        way("", "https").unwrap_err(),
        "`outbound.queue` holds `https://q:7070`: TLS needs a certificate; set `cluster.tls_certificate`, `tls_key` and \
         `tls_ca`, or give http://"
    );
    assert_eq!(
        way(tls, "http").unwrap_err(),
        "`outbound.queue` holds `http://q:7070`: with `cluster.tls_certificate` the queue is reached over TLS; give https://, \
         or set `cluster.tls_required` to false while the installation is moved to TLS"
    );
    way(tls, "https").unwrap();
    way("", "http").unwrap();
    way(&format!("{tls}tls_required = false\n"), "http").unwrap();
}
