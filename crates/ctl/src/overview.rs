//! `mailtier queue shards` and `status`: who owns what, and how the replica that is asked stands.

use std::process::ExitCode;
use std::time::SystemTime;

use mailtier_api::json;
use mailtier_api::overview::{BlockView, DeadView, PoolView, ReplicaView, ShardMap, ShardView, Status, WorkerView};
use mailtier_types::Timestamp;

use crate::cli::AdminOptions;
use crate::connect::{connect, failure};
use crate::output::say;
use crate::show;
use crate::suspensions;

/// How to show the map.
#[derive(Debug, clap::Args)]
pub(crate) struct ShardsOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// A line for each shard, too
    #[arg(long)]
    all: bool,
}

/// How to show the replica.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    admin: AdminOptions,
}

/// `shards`.
pub(crate) async fn shards(options: ShardsOptions) -> anyhow::Result<ExitCode> {
    let client = connect(&options.admin).await?;
    let map = client.shard_map().await.map_err(|error| failure(&options.admin.server(), error))?;
    if options.admin.json {
        say!("{}", json::line(&json::Shards::from(&map)));
    } else {
        map_lines(&map, options.all).iter().for_each(|line| say!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// `status`.
pub(crate) async fn status(options: StatusOptions) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(&options.admin).await?, options.admin.server());
    let status = client.status().await.map_err(|error| failure(&server, error))?;
    if options.admin.json {
        say!("{}", json::line(&json::Status::from(&status)));
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::from_system(SystemTime::now());
    status_lines(&status, now).iter().for_each(|line| say!("{line}"));
    // The rest is the database's to tell; that it cannot is part of how things stand.
    match client.shard_map().await {
        Ok(map) => map_lines(&map, false).iter().for_each(|line| say!("{line}")),
        Err(error) => say!("replicas: {error}"),
    }
    match client.list_suspensions().await {
        Ok(suspensions) => suspensions.iter().for_each(|suspension| say!("{}", suspensions::line(suspension, now))),
        Err(error) => say!("suspensions: {error}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A line a replica, one for shards that nobody owns, and if asked one a shard.
fn map_lines(map: &ShardMap, all: bool) -> Vec<String> {
    let of_replica = |replica: &ReplicaView| {
        let ReplicaView { id, address, lease_left } = replica;
        let shards = map.owned_by(*id);
        format!("replica {id}  {address}  {shards} shards  lease {}", seconds(*lease_left))
    };
    let mut lines: Vec<String> = map.replicas.iter().map(of_replica).collect();
    // A lease of a shard can outlive its owner's membership for a moment.
    let of_others = map
        .shards
        .iter()
        .filter(|shard| shard.owner.is_some_and(|(owner, _)| !map.replicas.iter().any(|replica| replica.id == owner)));
    let of_others = of_others.count();
    if of_others > 0 {
        lines.push(format!("gone  {of_others} shards of replicas that live no more, until their leases end"));
    }
    let free: Vec<&ShardView> = map.shards.iter().filter(|shard| shard.owner.is_none()).collect();
    if !free.is_empty() {
        let clean = free.iter().filter(|shard| shard.is_clean).count();
        lines.push(format!("free  {} shards, {clean} of them clean: nobody attempts what is in them", free.len()));
    }
    if all {
        lines.extend(map.shards.iter().map(shard_line));
    }
    lines
}

fn shard_line(shard: &ShardView) -> String {
    let whose = match shard.owner {
        Some((owner, left)) => format!("{owner}  lease {}", seconds(left)),
        None if shard.is_clean => "free, clean".to_owned(),
        None => "free".to_owned(),
    };
    format!("shard {:>3}  epoch {:>4}  {whose}", shard.shard.number(), shard.epoch.0)
}

fn seconds(left: std::time::Duration) -> String {
    format!("{:.1}s", left.as_secs_f64())
}

fn status_lines(status: &Status, now: Timestamp) -> Vec<String> {
    let Status { replica, overview } = status;
    let mut lines = vec![format!("asked {replica}: {} shards", overview.shards)];
    if overview.taking_over > 0 {
        lines
            .push(format!("  {} of them are being taken over: workers are asked what they have", overview.taking_over));
    }
    if overview.spilled > 0 {
        lines.push(format!("  of {} of them not everything is in memory", overview.spilled));
    }
    if overview.is_draining {
        lines.push("  is leaving: it dispatches nothing more".to_owned());
    } else if !overview.is_dispatching {
        lines.push("  does not dispatch: its lease is not renewed".to_owned());
    }
    let oldest = overview.oldest_ready_at().map(|at| format!(", the oldest {} old", show::span(now.since(at))));
    lines.push(format!(
        "  in memory: {} waiting, {} ready{}, {} in flight",
        overview.waiting,
        overview.ready,
        oldest.unwrap_or_default(),
        overview.in_flight
    ));
    lines.extend(overview.dead.iter().map(|dead| dead_line(dead, now)));
    let others = overview.dead_destinations.saturating_sub(overview.dead.len() as u64);
    if others > 0 {
        lines.push(format!("  nor do {others} other destinations"));
    }
    lines.extend(overview.blocked.iter().map(|block| block_line(block, now)));
    let others = overview.blocks.saturating_sub(overview.blocked.len() as u64);
    if others > 0 {
        lines.push(format!("  and {others} other addresses are blocked"));
    }
    let worker = |worker: &WorkerView| {
        format!("  worker {} {}  {} in flight, credit for {}", worker.id, worker.name, worker.in_flight, worker.credit)
    };
    lines.extend(overview.workers.iter().map(worker));
    if overview.workers.is_empty() {
        lines.push("  no worker is connected".to_owned());
    }
    // Where no pool is configured, what is said above says it all.
    if overview.pools.len() > 1 {
        lines.extend(overview.pools.iter().map(pool_line));
    }
    lines
}

fn dead_line(dead: &DeadView, now: Timestamp) -> String {
    let DeadView { destination, hosts, deliveries, until } = dead;
    let way = if hosts.is_empty() { String::new() } else { format!(" by {}", hosts.join(", ")) };
    format!("  {destination}{way} is left alone: {deliveries} wait, tried again in {}", show::span(until.since(now)))
}

fn block_line(block: &BlockView, now: Timestamp) -> String {
    let BlockView { address, by, is_provider, until } = block;
    let kind = if *is_provider { "the provider " } else { "" };
    format!("  our address {address} is blocked by {kind}{by}: not used there for {}", show::span(until.since(now)))
}

fn pool_line(pool: &PoolView) -> String {
    let mut line = format!("  pool {}  {} ready, {} in flight", pool.name, pool.ready, pool.in_flight);
    if let Some(left) = pool.allowance_left {
        line.push_str(&format!(", {left} left of today's warm-up"));
    }
    if pool.is_suspended {
        line.push_str("; suspended");
    }
    if pool.is_unserved {
        line.push_str("; no connected worker serves it: its mail waits");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailtier_api::overview::Overview;
    use mailtier_types::{Epoch, MessageId, ReplicaId, ShardId, WorkerId};

    use super::*;

    fn shard(number: u8, owner: Option<ReplicaId>, is_clean: bool) -> ShardView {
        let owner = owner.map(|owner| (owner, Duration::from_millis(3250)));
        ShardView { shard: ShardId::new(number), epoch: Epoch(4), owner, is_clean }
    }

    #[test]
    fn the_map_tells_whose_shards_are_whose_and_which_are_nobodys() {
        let (one, gone) = (ReplicaId::from_slice(&[1; 16]).unwrap(), ReplicaId::from_slice(&[2; 16]).unwrap());
        let lease_left = Duration::from_millis(3333);
        let map = ShardMap {
            replicas: vec![ReplicaView { id: one, address: "10.0.0.1:7070".into(), lease_left }],
            shards: vec![
                shard(0, Some(one), false),
                shard(1, Some(gone), false),
                shard(2, None, true),
                shard(3, None, false),
            ],
        };
        let expected = [
            "replica 01010101-0101-0101-0101-010101010101  10.0.0.1:7070  1 shards  lease 3.3s",
            "gone  1 shards of replicas that live no more, until their leases end",
            "free  2 shards, 1 of them clean: nobody attempts what is in them",
        ];
        assert_eq!(map_lines(&map, false), expected);
        let all = map_lines(&map, true);
        assert_eq!(all[3], "shard   0  epoch    4  01010101-0101-0101-0101-010101010101  lease 3.2s");
        assert_eq!(all[5], "shard   2  epoch    4  free, clean");
        let object = json::Shards::from(&map);
        assert_eq!((object.replicas[0].shards, object.replicas[0].lease_left_ms), (1, 3333));
        assert_eq!((&object.shards[2].owner, object.shards[2].lease_left_ms), (&None, None));
    }

    #[test]
    fn a_replica_tells_what_it_has_and_who_is_connected() {
        let now = Timestamp::from_secs(1_800_000_000);
        let oldest = MessageId::from_i64(MessageId::first_at(now.before(Duration::from_secs(65)))).unwrap().delivery(0);
        let worker =
            WorkerView { id: WorkerId::from_slice(&[3; 16]).unwrap(), name: "out-1".into(), credit: 7, in_flight: 2 };
        let overview = Overview {
            shards: 128,
            waiting: 5,
            ready: 3,
            in_flight: 2,
            oldest_ready: Some(oldest),
            is_dispatching: true,
            workers: vec![worker],
            dead_destinations: 5,
            dead: vec![DeadView {
                destination: "dead.example".into(),
                hosts: vec!["relay.example:25".into()],
                deliveries: 7,
                until: now.after(std::time::Duration::from_secs(65)),
            }],
            blocks: 3,
            blocked: [("b.example", false), ("big", true)]
                .map(|(by, is_provider)| BlockView {
                    address: [192, 0, 2, 1].into(),
                    by: by.to_owned(),
                    is_provider,
                    until: now.after(Duration::from_secs(65)),
                })
                .to_vec(),
            pools: vec![
                PoolView { name: "default".into(), ready: 1, in_flight: 2, ..PoolView::default() },
                PoolView { name: "bulk".into(), ready: 2, is_unserved: true, ..PoolView::default() },
                PoolView { name: "new".into(), allowance_left: Some(40), is_suspended: true, ..PoolView::default() },
            ],
            ..Overview::default()
        };
        let status = Status { replica: ReplicaId::from_slice(&[1; 16]).unwrap(), overview };
        let expected = [
            "asked 01010101-0101-0101-0101-010101010101: 128 shards",
            "  in memory: 5 waiting, 3 ready, the oldest 1m5s old, 2 in flight",
            "  dead.example by relay.example:25 is left alone: 7 wait, tried again in 1m5s",
            "  nor do 4 other destinations",
            "  our address 192.0.2.1 is blocked by b.example: not used there for 1m5s",
            "  our address 192.0.2.1 is blocked by the provider big: not used there for 1m5s",
            "  and 1 other addresses are blocked",
            "  worker 03030303-0303-0303-0303-030303030303 out-1  2 in flight, credit for 7",
            "  pool default  1 ready, 2 in flight",
            "  pool bulk  2 ready, 0 in flight; no connected worker serves it: its mail waits",
            "  pool new  0 ready, 0 in flight, 40 left of today's warm-up; suspended",
        ];
        assert_eq!(status_lines(&status, now), expected);
        let object = serde_json::to_value(json::Status::from(&status)).unwrap();
        assert_eq!(object["oldest_ready"].as_str(), Some("2027-01-15T07:58:55.000Z"));
        assert_eq!((&object["blocked"][1]["provider"], &object["blocks"]), (&"big".into(), &3.into()));
        assert_eq!((&object["pools"][1]["pool"], &object["pools"][1]["served"]), (&"bulk".into(), &false.into()));
        let alone = Status { overview: Overview { taking_over: 3, spilled: 2, ..Overview::default() }, ..status };
        let told = status_lines(&alone, now).join("\n");
        for line in
            ["3 of them are being taken over", "of 2 of them", "its lease is not renewed", "no worker is connected"]
        {
            assert!(told.contains(line), "{told}");
        }
    }
}
