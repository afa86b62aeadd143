//! TLS between the programs, with real processes under load: a whole installation over it, certificates renewed under way,
//! and an installation that is moved to it while it runs.

use std::fs;
use std::process::Command;

use mailtier_config::DatabaseConfig;
use mailtier_testkit::fleet::{Certificates, Fleet, Process, Size, at};
use mailtier_testkit::installation::{Plan, free_port};
use mailtier_testkit::ledger::{Counterpart, Ledger};
use mailtier_testkit::postgres::TestDatabase;

use crate::loads::{self, BEHAVIOUR, DOMAINS, Flow, wait_until};

const TWO_OF_EACH: Size = Size { inbounds: 1, queues: 2, outbounds: 2 };
/// What a program says when it has taken up a renewed certificate.
const CONNECTED_ANEW: &str = "connected anew";

fn new_database() -> (TestDatabase, DatabaseConfig) {
    let database = loads::new_database();
    let reached = at(&database.url());
    (database, reached)
}

fn plan(counterpart: &Counterpart) -> Plan {
    Plan::new(counterpart.address())
}

#[test]
fn mail_flows_over_tls_and_renewed_certificates_cost_nobody_anything() {
    let (database, reached) = new_database();
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let api = free_port().unwrap();
    let (ledger, domains) = (Ledger::default(), DOMAINS);
    let counterpart = Counterpart::start(&ledger, BEHAVIOUR).unwrap();
    let mut fleet = Fleet::over_tls(&plan(&counterpart), TWO_OF_EACH, |_| database.url(), &certificates).unwrap();
    // The HTTP API of one replica, with a certificate that is issued for its name as others would be.
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (chain, key) = (folder.path().join("api.pem"), folder.path().join("api.key"));
    fs::write(&chain, own.cert.pem()).unwrap();
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let api_environment = [
        ("MAILTIER__QUEUE__API_LISTEN", api.to_string()),
        ("MAILTIER__QUEUE__API_TLS_CERTIFICATE", chain.to_string_lossy().into_owned()),
        ("MAILTIER__QUEUE__API_TLS_KEY", key.to_string_lossy().into_owned()),
    ];
    fleet.queues[0].start_with(&api_environment.each_ref().map(|(name, value)| (*name, value.as_str()))).unwrap();
    fleet.all().filter(|process| process.name() != "queue-0").for_each(|process| process.start().unwrap());
    fleet.until_ready().unwrap();
    let mut flow = Flow::through(fleet, ledger, counterpart, domains);
    let listed = flow.fleet.mailtier(&["queue", "status"]).unwrap();
    assert!(listed.contains("in memory"), "operators are let in with a token alone: {listed}");
    let url = format!("https://localhost:{}/v1/deliveries", api.port());
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--resolve", &format!("localhost:{}:127.0.0.1", api.port()), "--cacert"])
        .arg(&chain)
        .arg(&url)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "401", "{}", String::from_utf8_lossy(&curl.stderr));

    let before = flow.ledger.balance();
    let connected = |process: &Process| process.log().matches(CONNECTED_ANEW).count();
    certificates.renew().unwrap();
    // A link of each to each: two queue replicas.
    let all_anew = |fleet: &mut Fleet| {
        fleet.all().filter(|process| !process.name().starts_with("queue")).all(|process| connected(process) >= 2)
    };
    wait_until("all have connected anew", || all_anew(&mut flow.fleet));
    flow.goes_on();
    let after = flow.ledger.balance();
    assert_eq!((after.put_off, after.refused), (before.put_off, before.refused), "no client has noticed");
    for process in flow.fleet.all() {
        let end = process.metric("mailtier_cluster_certificate_expiry_seconds");
        assert!(end.is_some_and(|end| end > 1_700_000_000.0), "{}: {end:?}", process.name());
    }
    flow.conclude("over TLS", reached);
}

/// One program after the other is started again with more in its environment, while mail flows.
fn restart(flow: &mut Flow, which: &str, environment: &[(String, String)]) {
    let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let names: Vec<String> = flow.fleet.all().map(|process| process.name().to_owned()).collect();
    for name in names.iter().filter(|name| name.starts_with(which)) {
        let process = flow.fleet.all().find(|process| process.name() == name).unwrap();
        process.stop().unwrap();
        process.start_with(&environment).unwrap();
        process.until_ready().unwrap();
    }
    flow.goes_on();
}

#[test]
fn an_installation_that_runs_is_moved_to_tls() {
    let (database, reached) = new_database();
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let mut flow = Flow::start(
        DOMAINS,
        |plan| plan.set("cluster", "secret", "\"services only\""),
        TWO_OF_EACH,
        |_| database.url(),
    );
    let moving = |kind: &str| {
        let both = ("MAILTIER__CLUSTER__TLS_REQUIRED".to_owned(), "false".to_owned());
        let mut environment = certificates.environment(kind);
        environment.push(both);
        environment
    };
    let secure = flow.fleet.urls(true);
    let over_tls = |kind: &str| {
        let mut environment = moving(kind);
        environment.push((format!("MAILTIER__{}__QUEUE", kind.to_uppercase()), secure.clone()));
        environment
    };
    restart(&mut flow, "queue", &moving("queue"));
    restart(&mut flow, "inbound", &over_tls("inbound"));
    restart(&mut flow, "outbound", &over_tls("outbound"));
    restart(&mut flow, "queue", &certificates.environment("queue"));
    let closed = flow.fleet.mailtier(&["queue", "status"]).unwrap_err().to_string();
    assert!(closed.contains("the queue takes calls over TLS only: use https://"), "{closed}");
    flow.conclude("moved to TLS", reached);
}

/// It says so, and is not ready; mail of others goes on.
#[test]
fn a_program_with_anothers_certificate_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let ledger = Ledger::default();
    let counterpart = Counterpart::start(&ledger, BEHAVIOUR).unwrap();
    let size = Size { inbounds: 1, queues: 0, outbounds: 0 };
    let mut fleet = Fleet::over_tls(&plan(&counterpart), size, |_| String::new(), &certificates).unwrap();
    let outbound = certificates.environment("outbound");
    let mut environment: Vec<_> = outbound.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for key in ["MAILTIER__INBOUND__QUEUE", "MAILTIER__OUTBOUND__QUEUE"] {
        environment.push((key, "https://127.0.0.1:7070"));
    }
    fleet.inbounds[0].start_with(&environment).unwrap();
    let refused = fleet.inbounds[0].until_ready().unwrap_err().to_string();
    assert!(
        refused.contains("it is for the role outbound (spiffe://mailtier/outbound), and mailtier-inbound needs"),
        "{refused}"
    );
}
