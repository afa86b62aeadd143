//! Limits that several queue replicas keep to together, while the replicas are restarted, killed and paused: what arrives
//! is counted on the other side. (Every order of events is tried in simulated time: `schedule`, `tests/scheduler/leasing`.)

use std::ops::Range;
use std::time::{Duration, Instant};

use mailtier_testkit::fleet::{Fleet, Size};
use mailtier_testkit::installation::Plan;
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger, Letter, send};
use mailtier_testkit::name_server::NameServer;
use mailtier_testkit::postgres::TestDatabase;
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

use crate::loads::wait_until;

/// So many that each replica owns some.
const DOMAINS: &[&str] = &[
    "a.example",
    "b.example",
    "c.example",
    "d.example",
    "e.example",
    "f.example",
    "g.example",
    "h.example",
    "i.example",
    "j.example",
    "k.example",
    "l.example",
];
const SIZE: Size = Size { inbounds: 1, queues: 3, outbounds: 2 };
/// All is there before any of it goes out, and more than can go out.
const MESSAGES: usize = 1_080;
const CLIENTS: usize = 4;
/// A time in which nothing is done to the replicas: at first, and in the end.
const CALM: Duration = Duration::from_secs(6);

/// Replicas with mail to many destinations, and its other side.
struct Limited {
    runtime: Runtime,
    database: TestDatabase,
    counterpart: Counterpart,
    fleet: Fleet,
}

impl Limited {
    fn start(runtime: Runtime, counterpart: Counterpart, plan: Plan) -> Self {
        let database = runtime.block_on(TestDatabase::migrated()).unwrap();
        let plan = plan.set("queue", "lease", "\"3s\"").set("queue", "renew_every", "\"500ms\"").set(
            "queue",
            "worker_grace",
            "\"2s\"",
        );
        let mut fleet = Fleet::new(&plan, SIZE, |_| database.url()).unwrap();
        fleet.start().unwrap();
        let limited = Self { runtime, database, counterpart, fleet };
        limited.until_spread();
        limited.fleet.mailtier(&["queue", "suspend", "--all"]).unwrap();
        submit(&limited.fleet);
        limited.fleet.mailtier(&["queue", "resume", "--all"]).unwrap();
        limited
    }

    fn until_spread(&self) {
        let owners = "SELECT count(DISTINCT owner) FROM shard WHERE lease_until > now()";
        let count = || self.runtime.block_on(self.database.sql(owners)).unwrap();
        wait_until("shards are spread", || count() == SIZE.queues.to_string());
    }

    /// Every replica is restarted, one is killed, one paused for less than a lease and one for longer.
    fn disturb(&mut self) {
        for queue in &mut self.fleet.queues {
            queue.stop().unwrap();
            queue.start().unwrap();
            queue.until_ready().unwrap();
        }
        self.fleet.queues[0].kill();
        self.fleet.queues[0].start().unwrap();
        self.fleet.queues[0].until_ready().unwrap();
        for (replica, seconds) in [(1, 1), (2, 8)] {
            self.fleet.queues[replica].signal(Signal::SIGSTOP).unwrap();
            goes_by(Duration::from_secs(seconds));
            self.fleet.queues[replica].signal(Signal::SIGCONT).unwrap();
        }
        self.until_spread();
        // What a lessor does not know is over after two leases.
        goes_by(Duration::from_secs(6));
    }

    /// All that arrived meanwhile, once each; in both calms nearly as much as may.
    fn conclude(mut self, a_calm: usize) -> (Counterpart, Vec<Letter>) {
        let first = calm();
        self.disturb();
        let last = calm();
        let letters = self.counterpart.letters();
        let within = |calm: &Range<Instant>| letters.iter().filter(|letter| calm.contains(&letter.arrived_at)).count();
        let within = [within(&first), within(&last)];
        println!("{within:?} of {a_calm} in calm, {} of {MESSAGES} in {:?}", letters.len(), last.end - first.start);
        assert!(within.iter().all(|count| count * 10 >= a_calm * 9), "it is used: {within:?} of {a_calm}");
        let mut recipients: Vec<&String> = letters.iter().flat_map(|letter| &letter.recipients).collect();
        recipients.sort_unstable();
        recipients.dedup();
        assert_eq!(recipients.len(), letters.len(), "nothing is sent twice");
        assert!(letters.len() < MESSAGES, "there was always more to send");
        self.fleet.stop().unwrap();
        (self.counterpart, letters)
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn submit(fleet: &Fleet) {
    let (server, content) = (fleet.smtp()[0], b"Subject: x\r\n\r\nx\r\n");
    std::thread::scope(|scope| {
        for domains in DOMAINS.chunks(DOMAINS.len() / CLIENTS) {
            scope.spawn(move || {
                for number in 0..MESSAGES / DOMAINS.len() {
                    for domain in domains {
                        let recipient = format!("r{number}@{domain}");
                        assert_eq!(send(server, "<s@client.example>", &[&recipient], content).unwrap(), 250);
                    }
                }
            });
        }
    });
}

fn goes_by(time: Duration) {
    let started = Instant::now();
    wait_until("time has gone by", || started.elapsed() >= time);
}

fn calm() -> Range<Instant> {
    let from = Instant::now();
    goes_by(CALM);
    from..Instant::now()
}

#[test]
fn a_provider_is_never_sent_more_at_a_time_than_it_is_said_to_take() {
    let (at_once, takes) = (2, Duration::from_millis(100));
    let behaviour = Behaviour { takes, ..Behaviour::default() };
    let counterpart = Counterpart::start(&Ledger::default(), behaviour).unwrap();
    let runtime = runtime();
    let names = runtime.block_on(NameServer::start()).unwrap();
    for domain in DOMAINS {
        names.add_mx(domain, 10, "mx.big.example").unwrap();
    }
    names.add_address("mx.big.example", counterpart.address().ip()).unwrap();
    let plan = Plan::new(counterpart.address())
        .by_dns(DOMAINS)
        .set("outbound", "dns_servers", format!("[\"{}\"]", names.address()))
        .set("outbound", "smtp_port", counterpart.address().port().to_string())
        .set("outbound", "allow_private_addresses", "true")
        .set(
            "queue",
            "providers",
            format!("[{{ name = \"big\", exchangers = [\"big.example\"], concurrency = {at_once} }}]"),
        );
    let limited = Limited::start(runtime, counterpart, plan);
    // The rest of an attempt takes time as well.
    let a_calm = at_once * CALM.as_secs() as usize * 7;
    let (counterpart, _) = limited.conclude(a_calm);
    assert_eq!(counterpart.most_at_once(), at_once);
}

#[test]
fn no_stretch_of_time_has_more_mail_of_a_tenant_than_its_rate() {
    let a_second = 20;
    let counterpart = Counterpart::start(&Ledger::default(), Behaviour::default()).unwrap();
    let plan =
        Plan::new(counterpart.address()).set("queue", "tenants", format!("[{{ id = 0, rate = \"{a_second}/s\" }}]"));
    let limited = Limited::start(runtime(), counterpart, plan);
    let (_, letters) = limited.conclude(a_second * CALM.as_secs() as usize);
    // A second's worth may go at once, and what is begun does not arrive at the same pace.
    let slack = Duration::from_millis(1_500);
    for (place, letter) in letters.iter().enumerate() {
        for (count, later) in letters[place..].iter().enumerate() {
            let stretch = later.arrived_at.duration_since(letter.arrived_at) + slack;
            let most = stretch.as_millis() * a_second as u128 / 1000;
            assert!((count as u128) < most, "{count} in {stretch:?}");
        }
    }
}
