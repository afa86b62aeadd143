//! What `docker compose up` starts, without containers: the first message, who a client is behind HAProxy, replicas that
//! come to their end, and what docker-compose.yml promises about what it runs.

mod client;
mod container;
mod file;
mod secrets;
mod stack;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use mailtier_config::Config;
use mailtier_testkit::fleet::{audit, queued};

use client::{Load, SESSIONS, Session};
use file::{ComposeFile, Service, root};
use stack::{Stack, seconds};

use crate::loads::wait_until;

/// A client of the world, and one that is somebody else: neither is HAProxy, nor this machine.
const CLIENT: &str = "127.9.9.9";

/// The messages that the sink has, by recipient, with how often each came.
fn arrived(stack: &Stack) -> BTreeMap<String, Vec<String>> {
    let mut arrived: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(stack.volume("sink")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "eml") {
            let text = fs::read_to_string(&path).unwrap();
            let to = text.lines().find_map(|line| line.strip_prefix("To: ")).unwrap_or_else(|| panic!("{text}"));
            arrived.entry(to.trim_matches(['<', '>']).to_owned()).or_default().push(text);
        }
    }
    arrived
}

/// The only message to a recipient, once it is there.
fn letter(stack: &Stack, recipient: &str) -> String {
    wait_until("it arrives", || arrived(stack).contains_key(recipient));
    let letters = arrived(stack).remove(recipient).unwrap();
    assert_eq!(letters.len(), 1, "{letters:#?}");
    letters[0].clone()
}

/// The Received field that inbound added, in one line.
fn received(letter: &str) -> String {
    let unfolded = letter.replace("\r\n\t", " ").replace("\r\n ", " ").replace("\n\t", " ").replace("\n ", " ");
    unfolded.lines().next().unwrap().to_owned()
}

/// swaks from an address of the client's own: whether it ended well, and what was said.
fn swaks(server: SocketAddr, recipient: &str, options: &[&str]) -> (bool, String) {
    let output = Command::new("swaks")
        .args(["--config", "/dev/null", "--server", &server.ip().to_string(), "--port", &server.port().to_string()])
        .args([
            "--local-interface",
            CLIENT,
            "--helo",
            "client.example",
            "--from",
            "me@client.example",
            "--to",
            recipient,
        ])
        .args(options)
        .output()
        .expect("swaks is installed by `make clients`");
    let said = [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
    (output.status.success(), said)
}

#[test]
fn what_compose_starts_delivers_the_first_message_and_ends_in_order() {
    let mut stack = Stack::up();
    for name in ["queue", "inbound", "outbound", "haproxy"] {
        for container in stack.containers(name) {
            container.until_healthy();
        }
    }
    // The service that sends it has ended well, through HAProxy and all three tiers.
    stack.containers("hello")[0].until_completed();
    let hello = letter(&stack, "someone@recipient.example");
    assert!(hello.contains("Subject: Hello from Mailtier"), "{hello}");
    wait_until("the newcomer sees it", || stack.containers("sink")[0].log().contains("to=<someone@recipient.example>"));

    a_client_is_who_it_is(&stack);
    users_send_to_anyone(&mut stack);
    operators_look(&mut stack);
    wait_until("every program has sent its traces", || {
        let services: BTreeSet<String> =
            stack.collector.received().spans.iter().map(|span| span.service.clone()).collect();
        services.len() == 3
    });
    stack.stop();
}

/// HAProxy says who a client is, and nobody is trusted for coming through it.
fn a_client_is_who_it_is(stack: &Stack) {
    let server = stack.at("haproxy", 2525);
    let (sent, said) = swaks(server, "smoke@recipient.example", &["--tls-optional"]);
    assert!(sent, "{said}");
    let field = received(&letter(stack, "smoke@recipient.example"));
    assert!(field.contains(&format!("[{CLIENT}]")) && field.contains("with ESMTPS"), "{field}");
    let (sent, said) = swaks(server, "someone@elsewhere.example", &[]);
    assert!(!sent && said.contains("550 5.7.1"), "{said}");
    // Whoever reaches inbound without HAProxy is not served: nobody could say who that is.
    let (sent, said) = swaks(stack.at("inbound", 2525), "smoke@recipient.example", &[]);
    assert!(!sent && !said.contains("220 "), "{said}");
}

/// Users log in over the certificate that the first start has made.
fn users_send_to_anyone(stack: &mut Stack) {
    let password = stack.volume("password");
    fs::write(&password, "correct horse").unwrap();
    let file = password.to_str().unwrap().to_owned();
    stack.exec("queue", &["mailtier", "user", "add", "me@client.example", "--password-file", &file]);
    let login = ["--auth-user", "me@client.example", "--auth-password", "correct horse"];
    for (port, tls, to) in
        [(2587, "--tls", "submission@elsewhere.example"), (2465, "--tls-on-connect", "tls@elsewhere.example")]
    {
        let (sent, said) = swaks(stack.at("haproxy", port), to, &[&[tls], &login[..]].concat());
        assert!(sent, "{said}");
        let field = received(&letter(stack, to));
        assert!(field.contains(&format!("[{CLIENT}]")) && field.contains("with ESMTPSA"), "{field}");
    }
    let (sent, said) = swaks(stack.at("haproxy", 2587), "nobody@elsewhere.example", &["--tls"]);
    assert!(!sent && said.contains("530 "), "{said}");
}

/// As docs/operate/compose.md shows it: the command line in a container, and the HTTP API through HAProxy.
fn operators_look(stack: &mut Stack) {
    for service in ["inbound", "outbound", "queue"] {
        let checked = stack.exec(service, &[&format!("mailtier-{service}"), "--check-config"]);
        assert!(checked.contains("is valid"), "{service}: {checked}");
    }
    let traced = stack.exec("queue", &["mailtier", "trace", "smoke@recipient.example"]);
    assert!(traced.contains("accepted") && traced.contains("delivered") && traced.contains(CLIENT), "{traced}");
    // The second begins with waiting for workers of an earlier time.
    wait_until("both replicas own shards", || {
        let shards = stack.exec("queue", &["mailtier", "queue", "shards"]);
        shards.lines().filter(|line| line.starts_with("replica") && line.contains(" 128 shards")).count() == 2
    });
    let token = fs::read_to_string(stack.volume("secret-admin").join("token")).unwrap();
    let ask = |token: &str| {
        let url = format!("http://{}/v1/status", stack.at("haproxy", 8080));
        let header = format!("Authorization: Bearer {token}");
        let output =
            Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, &url]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!((ask(&token).as_str(), ask("nonsense").as_str()), ("200", "401"));
}

#[test]
fn a_replica_of_inbound_ends_and_no_client_is_refused() {
    let mut stack = Stack::up();
    stack.containers("haproxy")[0].until_healthy();
    let server = stack.at("haproxy", 2525);
    let load = Load::start(server);
    wait_until("mail flows", || load.promised() > 50);
    // Of several sessions in the middle of a message some are the replica's that ends.
    let mut open: Vec<Session> = (0..6).map(|_| Session::open(server).unwrap()).collect();
    for (number, session) in open.iter_mut().enumerate() {
        session.say("MAIL FROM:<open@client.example>\r\n").unwrap();
        session.say(&format!("RCPT TO:<open-{number}@recipient.example>\r\n")).unwrap();
        assert!(session.say("DATA\r\n").unwrap().starts_with("354"));
    }
    let ending = &mut stack.containers("inbound")[0];
    ending.signal_to_stop();
    wait_until("it is not ready", || ending.health().is_err());
    for (number, session) in open.iter_mut().enumerate() {
        let reply = session.say(&format!("To: open-{number}@recipient.example\r\n\r\nHello.\r\n.\r\n")).unwrap();
        assert!(reply.starts_with("250"), "a transaction may come to its end: {reply}");
    }
    drop(open);
    stack.containers("inbound")[0].until_stopped();
    let before = load.promised();
    wait_until("mail goes on through the other", || load.promised() > before + 50);
    let account = load.stop();
    assert!(account.refused.is_empty(), "{:?}", account.refused);
    // Between two messages a session may be told to come back, and each client may meet the one moment at which a port closes.
    let unanswered: Vec<&String> = account.put_off.iter().filter(|reply| !reply.starts_with("421")).collect();
    assert!(unanswered.len() <= SESSIONS, "{unanswered:?}");

    let database = stack.database();
    wait_until("nothing is queued", || queued(&database).unwrap().is_none());
    let arrived = arrived(&stack);
    let expected =
        account.promised.iter().cloned().chain((0..6).map(|number| format!("open-{number}@recipient.example")));
    for recipient in expected {
        assert_eq!(arrived.get(&recipient).map(Vec::len), Some(1), "{recipient}");
    }
    assert!(audit(&database).unwrap().is_empty());
}

/// The configuration as a program has it in its container, but for its secrets.
fn configuration(service: &Service) -> Config {
    let is_public = |name: &str| name.starts_with("MAILTIER__") && !name.ends_with("_FILE");
    let variables = service.environment.iter().filter(|(name, _)| is_public(name));
    let secret = [("MAILTIER__CLUSTER__SECRET".to_owned(), "none".to_owned())];
    let variables = variables.map(|(name, value)| (name.clone(), value.clone())).chain(secret).collect();
    Config::load_with(Some(&root().join("deploy/compose/mailtier.toml")), variables).unwrap()
}

#[test]
fn compose_and_configuration_say_the_same() {
    let file = ComposeFile::read();
    let config = configuration(&file.services["queue"]);
    let listeners = &config.inbound.listeners;
    assert!(config.inbound.listen.is_empty() && listeners.len() == 3);
    for listener in listeners {
        let networks: Vec<String> = listener.proxy_networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, [file.subnet("edge")], "{}: who may say who a client is", listener.name);
    }
    assert!(config.inbound.relay_networks.is_empty(), "nobody is trusted to begin with");
    let programs = [
        ("inbound", config.inbound.http_listen, config.inbound.drain_timeout),
        ("queue", config.queue.http_listen, config.queue.drain_timeout),
        ("outbound", config.outbound.http_listen, config.outbound.drain_timeout),
    ];
    for (name, http, drain) in programs {
        let service = &file.services[name];
        let asked = service.healthcheck.as_ref().unwrap().test.last().unwrap();
        assert_eq!(*asked, format!("http://127.0.0.1:{}", http.port()), "{name}");
        // The last export of telemetry has five seconds, leaving replicas two.
        let grace = seconds(service.stop_grace_period.as_deref().unwrap());
        assert!(grace > drain + Duration::from_secs(10), "{name}: {grace:?}");
    }
    let settings = file.services["postgres"].command.iter();
    let connections = settings.filter_map(|word| word.strip_prefix("-cmax_connections=")).next().unwrap();
    let most = 10 * (config.database.max_connections + 9);
    assert!(connections.parse::<u32>().unwrap() > most, "PostgreSQL has {connections} connections for {most}");
    let haproxy = fs::read_to_string(root().join("deploy/compose/haproxy.cfg")).unwrap();
    let addresses = listeners.iter().flat_map(|listener| &listener.listen);
    for (service, port) in addresses.map(|address| ("inbound", address.port())).chain([("queue", 8080)]) {
        assert!(haproxy.contains(&format!("{service}:{port} check")), "HAProxy leads to {service}:{port}");
        let published = file.services["haproxy"].ports.iter().any(|published| published.ends_with(&format!(":{port}")));
        assert!(published, "{port} is published");
    }
    let ours = &file.services["migrate"].image;
    for (name, service) in file.services.iter().filter(|(_, service)| service.image == *ours) {
        // Where several build it, they do so at one moment, and all but one fail.
        let brings = service.build.is_some() && service.pull_policy.as_deref() == Some("missing");
        let finds = service.build.is_none() && service.pull_policy.as_deref() == Some("never");
        assert!(if name == "migrate" { brings } else { finds }, "{name}: who brings the image");
    }
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    assert!(dockerfile.contains("MAILTIER_CONFIG=/etc/mailtier/mailtier.toml"));
    let toolchain = fs::read_to_string(root().join("rust-toolchain.toml")).unwrap();
    let version = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    assert!(dockerfile.contains(&format!("ARG RUST_VERSION={version}\n")), "the image is built with {version}");
}

#[test]
fn what_compose_runs_is_confined() {
    let file = ComposeFile::read();
    let mut on_database = BTreeSet::new();
    for (name, service) in &file.services {
        assert!(service.read_only, "{name} writes to its root");
        assert_eq!(service.cap_drop, ["ALL"], "{name}");
        assert_eq!(service.security_opt, ["no-new-privileges:true"], "{name}");
        assert!(service.deploy.resources["limits"]["memory"].is_string(), "{name} may take all memory");
        assert!(service.logging["options"]["max-size"].is_string(), "{name} may fill the disk with its log");
        let tag = service.image.rsplit_once(':').map(|(_, tag)| tag);
        assert!(tag.is_some_and(|tag| tag != "latest"), "{name}: {} is no version", service.image);
        assert!(
            !service.networks.is_empty() || service.network_mode.as_deref() == Some("none"),
            "{name} is on no network"
        );
        assert!(service.networks.iter().all(|network| file.networks.contains_key(network)), "{name}");
        assert!(
            service.ports.iter().all(|port| port.starts_with("127.0.0.1:")),
            "{name} is open to the world: {:?}",
            service.ports
        );
        for (source, _) in service.mounts().filter(|(source, _)| source.starts_with("./deploy/compose")) {
            assert!(root().join(source).exists(), "{name}: {source} is not there");
        }
        if service.networks.iter().any(|network| network == "database") {
            on_database.insert(name.as_str());
        }
    }
    assert_eq!(on_database, BTreeSet::from(["migrate", "postgres", "queue"]), "who reaches PostgreSQL");
    for network in ["database", "tiers"] {
        assert!(file.networks[network].as_ref().unwrap().internal, "{network} leads nowhere else");
    }
    let holders = |secret: &str| -> BTreeSet<&str> {
        let holds = |service: &Service| service.mounts().any(|(source, _)| source == secret);
        file.services.iter().filter(|(_, service)| holds(service)).map(|(name, _)| name.as_str()).collect()
    };
    assert_eq!(holders("secret-admin"), BTreeSet::from(["queue", "secrets"]));
    assert_eq!(holders("secret-cluster"), BTreeSet::from(["inbound", "migrate", "outbound", "queue", "secrets"]));
    assert_eq!(holders("secret-database"), BTreeSet::from(["migrate", "queue", "secrets"]));
    assert_eq!(holders("secret-postgres"), BTreeSet::from(["postgres", "secrets"]));
    assert_eq!(holders("secret-tls"), BTreeSet::from(["inbound", "secrets"]));
}
