//! Who reaches whom through the network policies, worked out from them and held against what shall be: only the queue
//! reaches PostgreSQL, only inbound, outbound and other replicas the queue, only outbound the world.

use std::net::IpAddr;

use anyhow::Context as _;
use ipnet::IpNet;
use serde_json::Value;

use super::Rendering;
use super::object::{Labels, Object, labels, list, selects, text};

/// What may be asked for anywhere.
const PORTS: [u64; 14] = [25, 53, 443, 465, 587, 2465, 2525, 2587, 5432, 7070, 8080, 9101, 9102, 9103];
/// Where other people's mail servers listen, and the web servers with their policies.
const WORLD_PORTS: [u64; 4] = [25, 465, 587, 443];
/// Where programs tell of themselves.
const METRICS_PORTS: [u64; 3] = [9101, 9102, 9103];
/// PostgreSQL's pods, as a party.
const DATABASE: &str = "database";
/// What every namespace has as its name.
const NAMESPACE: &str = "kubernetes.io/metadata.name";

/// Somebody who connects or is connected to.
struct Party {
    name: String,
    /// Of a pod.
    labels: Labels,
    /// The namespace of a pod, empty for who is outside the cluster.
    namespace: &'static str,
    address: IpAddr,
}

/// Compares what policies allow with what shall be.
///
/// # Errors
/// A policy names a network that is none.
pub(super) fn check(rendering: &Rendering, database: Option<&Rendering>) -> anyhow::Result<Vec<String>> {
    let has_own = rendering.find("StatefulSet", "mailtier-db").is_some();
    let database = database.filter(|_| !has_own);
    let all = rendering.objects.iter().chain(database.into_iter().flat_map(|database| &database.objects));
    let policies: Vec<&Object> = all.filter(|object| object.kind() == "NetworkPolicy").collect();
    let parties = parties(rendering)?;
    let mut findings = Vec::new();
    for (from, to) in parties.iter().flat_map(|from| parties.iter().map(move |to| (from, to))) {
        // Between others, and where a database connects to, is not our business.
        if from.name == DATABASE || ![from, to].iter().any(|party| is_tier(&party.name) || party.name == DATABASE) {
            continue;
        }
        for port in PORTS {
            let allowed = passes(&policies, from, to, port)?;
            if allowed != shall_pass(rendering, from, to, port) {
                let verb = if allowed { "reaches" } else { "does not reach" };
                findings.push(format!("{} {verb} {} on port {port}", from.name, to.name));
            }
        }
    }
    Ok(findings)
}

fn is_tier(name: &str) -> bool {
    ["inbound", "queue", "outbound", "migrate"].contains(&name)
}

/// What the tiers need, and nothing else.
fn shall_pass(rendering: &Rendering, from: &Party, to: &Party, port: u64) -> bool {
    match (from.name.as_str(), to.name.as_str()) {
        (tier, "name servers") if is_tier(tier) => port == 53,
        ("monitoring", tier) if is_tier(tier) && METRICS_PORTS.contains(&port) => true,
        // Outbound knows no way to pods' addresses either: mail to ourselves goes by our address in the world.
        (anybody, "inbound") if !is_tier(anybody) => takes_mail_on(rendering, port),
        ("inbound" | "outbound" | "queue", "queue") => port == 7070,
        ("queue" | "migrate", DATABASE) => port == 5432,
        ("outbound", "world") => WORLD_PORTS.contains(&port),
        _ => false,
    }
}

fn takes_mail_on(rendering: &Rendering, port: u64) -> bool {
    let mut pods = rendering.objects.iter().filter_map(Object::pod).filter(|pod| pod.component() == "inbound");
    pods.any(|pod| ["smtp", "submission", "submissions"].iter().any(|name| pod.port(name) == Some(port)))
}

fn parties(rendering: &Rendering) -> anyhow::Result<Vec<Party>> {
    let address = |text: &str| text.parse::<IpAddr>().with_context(|| format!("{text} is no address"));
    let mut parties = Vec::new();
    for pod in rendering.objects.iter().filter_map(Object::pod) {
        // Who has a node's network is known to no policy.
        if is_tier(pod.component()) && pod.spec.get("hostNetwork").is_none() {
            parties.push(Party {
                name: pod.component().to_owned(),
                labels: pod.labels,
                namespace: "mailtier",
                address: address("10.244.1.7")?,
            });
        }
    }
    let of = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Labels>()
    };
    let database = match rendering.find("StatefulSet", "mailtier-db").and_then(Object::pod) {
        Some(pod) => pod.labels,
        None => of(&[("cnpg.io/cluster", "mailtier-db")]),
    };
    let strangers = [
        (DATABASE, database, "mailtier", "10.244.1.9"),
        ("neighbour", Labels::new(), "mailtier", "10.244.1.11"),
        ("stranger", Labels::new(), "default", "10.244.2.3"),
        ("monitoring", Labels::new(), "monitoring", "10.244.2.5"),
        ("name servers", of(&[("k8s-app", "kube-dns")]), "kube-system", "10.244.0.2"),
        ("world", Labels::new(), "", "203.0.113.9"),
        ("metadata", Labels::new(), "", "169.254.169.254"),
    ];
    for (name, labels, namespace, at) in strangers {
        parties.push(Party { name: name.to_owned(), labels, namespace, address: address(at)? });
    }
    Ok(parties)
}

/// Whether a connection is allowed on both sides.
fn passes(policies: &[&Object], from: &Party, to: &Party, port: u64) -> anyhow::Result<bool> {
    Ok(side(policies, "Egress", from, to, port)? && side(policies, "Ingress", to, from, port)?)
}

/// Whether the policies of one side allow it: all do that are silent about it, and else one has to.
fn side(policies: &[&Object], direction: &str, own: &Party, peer: &Party, port: u64) -> anyhow::Result<bool> {
    let applies = |policy: &&&Object| {
        let types = list(policy.spec(), "/policyTypes").any(|kind| kind.as_str() == Some(direction));
        types && own.namespace == "mailtier" && selects(&labels(policy.spec(), "/podSelector/matchLabels"), &own.labels)
    };
    let (rules, peers) = if direction == "Egress" { ("/egress", "/to") } else { ("/ingress", "/from") };
    let mut applying = policies.iter().filter(applies).peekable();
    if applying.peek().is_none() {
        return Ok(true);
    }
    for rule in applying.flat_map(|policy| list(policy.spec(), rules)) {
        let ports = list(rule, "/ports").map(|entry| entry.get("port").and_then(Value::as_u64)).collect::<Vec<_>>();
        let fits = ports.is_empty() || ports.contains(&Some(port));
        let peers = list(rule, peers).collect::<Vec<_>>();
        let mut known = peers.is_empty();
        for entry in peers {
            known |= is_peer(entry, peer)?;
        }
        if fits && known {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_peer(entry: &Value, party: &Party) -> anyhow::Result<bool> {
    if let Some(block) = entry.get("ipBlock") {
        let network = |text: &str| text.parse::<IpNet>().with_context(|| format!("{text:?} is no network"));
        for except in list(block, "/except") {
            if network(except.as_str().unwrap_or_default())?.contains(&party.address) {
                return Ok(false);
            }
        }
        return Ok(network(text(block, "/cidr"))?.contains(&party.address));
    }
    let namespace = match entry.get("namespaceSelector") {
        Some(selector) => {
            let wanted = labels(selector, "/matchLabels");
            !party.namespace.is_empty() && wanted.get(NAMESPACE).is_none_or(|name| name == party.namespace)
        }
        None => party.namespace == "mailtier",
    };
    Ok(namespace && selects(&labels(entry, "/podSelector/matchLabels"), &party.labels))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn party(app: &str, namespace: &'static str, address: &str) -> Party {
        let labels = Labels::from([("app".to_owned(), app.to_owned())]);
        Party { name: app.to_owned(), labels, namespace, address: address.parse().unwrap() }
    }

    fn policy(spec: Value) -> Object {
        Object(json!({"kind": "NetworkPolicy", "spec": spec}))
    }

    #[test]
    fn who_is_not_named_does_not_pass() {
        let (queue, inbound) = (party("queue", "mailtier", "10.0.0.1"), party("inbound", "mailtier", "10.0.0.2"));
        let (stranger, world) = (party("inbound", "default", "10.0.0.3"), party("", "", "203.0.113.9"));
        let guard =
            policy(json!({"podSelector": {"matchLabels": {"app": "queue"}}, "policyTypes": ["Ingress"], "ingress":
            [{"from": [{"podSelector": {"matchLabels": {"app": "inbound"}}}], "ports": [{"port": 7070}]}]}));
        let reaches = |from: &Party, to: &Party, port| passes(&[&guard], from, to, port).unwrap();
        assert!(reaches(&inbound, &queue, 7070));
        assert!(!reaches(&inbound, &queue, 9102), "another port");
        assert!(!reaches(&stranger, &queue, 7070), "the same labels in another namespace");
        assert!(!reaches(&world, &queue, 7070));
        assert!(reaches(&queue, &world, 25), "nothing is said of where it connects to");
    }

    #[test]
    fn networks_are_left_out_of_larger_ones() {
        let (outbound, world) = (party("outbound", "mailtier", "10.0.0.1"), party("", "", "203.0.113.9"));
        let neighbour = party("neighbour", "mailtier", "10.0.0.4");
        let out = policy(json!({"podSelector": {}, "policyTypes": ["Egress"], "egress":
            [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}]}));
        assert!(passes(&[&out], &outbound, &world, 25).unwrap());
        assert!(!passes(&[&out], &outbound, &neighbour, 25).unwrap());
    }
}
