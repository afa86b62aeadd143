//! `mailtier route test`: where mail to an address would go, and why. Responsible for asking the configuration and the
//! name servers as a worker would. Not responsible for the decisions: those are `mailtier-route`'s and
//! `mailtier-schedule`'s. Nothing is sent, and no queue replica is asked, so that routes can be tried before they count.

mod lookup;
mod owner;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use mailtier_config::{Config, EgressPoolConfig, resolve_host_name, system_name};
use mailtier_directory::Directory;
use mailtier_route::{Mail, MessageClass, Plan, Policy, Route, SendersWish, Way};
use mailtier_telemetry::Meters;
use mailtier_types::{Mailbox, ReversePath, TenantId};

use crate::cli::Failure;
use crate::output::say;
use lookup::follow;
use owner::Owners;
use report::Report;

/// What can be said about routes.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Explains where mail to an address would go, and why: route, exchangers, addresses in their order, TLS, pool, provider
    Test(Options),
}

/// What can be said on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// To whom
    recipient: Mailbox,
    /// From whom; <> is the null reverse-path of notifications
    #[arg(long, default_value = "<>")]
    sender: String,
    /// Whose mail
    #[arg(long, default_value_t = 0)]
    tenant: i32,
    /// Of which class: bulk, normal or transactional
    #[arg(long, default_value = "normal", value_parser = ["bulk", "normal", "transactional"])]
    class: String,
    /// Its sender asks for REQUIRETLS (RFC 8689)
    #[arg(long)]
    require_tls: bool,
    /// A route has held it, and it was released
    #[arg(long)]
    released: bool,
    /// The file that the workers read
    #[arg(long, short, env = "MAILTIER_CONFIG")]
    config: Option<PathBuf>,
    /// Prints one object of JSON
    #[arg(long)]
    json: bool,
}

/// Prints the explanation. It is an error where nothing could be delivered.
pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Test(options) = command;
    let config = Config::load(options.config.as_deref())
        .map_err(|error| Failure::error(Failure::MISCONFIGURED, error.to_string()))?;
    let report = explain(&config, &options).await?;
    if options.json {
        say!("{}", serde_json::to_string(&report)?);
    } else {
        report.lines().iter().for_each(|line| say!("{line}"));
    }
    Ok(if report.leads_somewhere() { ExitCode::SUCCESS } else { ExitCode::from(Failure::UNAVAILABLE) })
}

async fn explain(config: &Config, options: &Options) -> anyhow::Result<Report> {
    let misconfigured = |error: mailtier_config::ConfigError| Failure::error(Failure::MISCONFIGURED, error.to_string());
    let sender = ReversePath::parse(options.sender.trim_matches(['<', '>'])).map_err(|error| {
        Failure::error(Failure::USAGE, format!("--sender {}: {error}; expected user@example.com or <>", options.sender))
    })?;
    let all = [MessageClass::Bulk, MessageClass::Normal, MessageClass::Transactional];
    let class = all.into_iter().find(|class| class.word() == options.class).unwrap_or(MessageClass::Normal);
    let mail = Mail {
        recipient: &options.recipient,
        sender: sender.mailbox(),
        tenant: TenantId(options.tenant),
        class,
        was_held: options.released,
    };
    let table = config.outbound.route_table().map_err(misconfigured)?;
    let route = table.find(&mail).map(Arc::as_ref);
    let mut report = Report::new(&mail, route, config);
    let owners = Owners::new(&config.queue);
    if route.is_none_or(is_planned) {
        let ehlo_name = resolve_host_name("outbound.ehlo_name", config.outbound.ehlo_name.as_deref());
        let policy = config.route_policy(&ehlo_name.unwrap_or_else(|_| system_name())).map_err(misconfigured)?;
        let directory = Directory::new(&config.outbound, &Arc::new(Meters::none()))?;
        let seed = rand::random();
        let plan = |policy: Policy| {
            let wish = if options.require_tls { SendersWish::RequireTls } else { SendersWish::None };
            Plan::new(Arc::new(policy), options.recipient.domain(), route, wish, seed).explained()
        };
        // Which pool it is may follow from the provider, and which addresses are used from the pool.
        let first = follow(plan(policy.clone()), &directory).await;
        let owner = owners.of(&mail, first.exchanger());
        let families = pool_config(config, &owner.pool).map_or(policy.families, |pool| pool.families(policy.families));
        let found = if families == policy.families {
            first
        } else {
            follow(plan(Policy { families, ..policy }), &directory).await
        };
        report.found(found);
        report.owner(owner, &config.outbound);
    } else {
        report.owner(owners.of(&mail, None), &config.outbound);
    }
    Ok(report)
}

/// Whether hosts are looked up for it.
const fn is_planned(route: &Route) -> bool {
    matches!(route.way, Way::Exchangers { .. } | Way::Hosts { .. })
}

fn pool_config<'a>(config: &'a Config, name: &str) -> Option<&'a EgressPoolConfig> {
    config.outbound.pools.iter().find(|pool| pool.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::lookup::tests::name_server;

    async fn explained(text: &str, arguments: &[&str]) -> Vec<String> {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        let line = <Line as clap::Parser>::try_parse_from(["test"].iter().chain(arguments)).unwrap();
        let names = name_server().await;
        let server = names.address();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mailtier.toml");
        let base = format!("outbound.dns_servers = [\"{server}\"]\noutbound.ehlo_name = \"out.example\"\n");
        std::fs::write(&path, format!("{base}{text}")).unwrap();
        let config = Config::load(Some(&path)).unwrap();
        let report = explain(&config, &line.options).await.unwrap();
        serde_json::to_string(&report).unwrap();
        report.lines()
    }

    #[tokio::test]
    async fn the_way_of_most_mail_with_all_that_is_left_out() {
        let providers = "[[queue.providers]]\nname = \"big\"\nexchangers = [\"mx.example\"]\nconcurrency = 50\n\
                         [[queue.sites]]\nexchangers = [\"own.example\"]\nprovider = \"big\"\n\
                         [[queue.pools]]\nname = \"cold\"\n\
                         [[queue.pools]]\nname = \"warm\"\nrate = \"1000/h\"\noverflow = \"cold\"\n\
                         warm_up = { began = \"2026-11-20\", per_day = [50] }\n\
                         [[queue.destinations]]\ndomain = \"d.example\"\nconcurrency = 8\nrate = \"7/s\"\n\
                         [[queue.tenants]]\nid = 0\nrate = \"100/m\"\n\
                         [[queue.pool_rules]]\npool = \"warm\"\nprovider = \"big\"";
        assert_eq!(
            explained(providers, &["a@d.example"]).await,
            [
                "to           a@d.example, from <>, tenant 0, normal",
                "route        none: by the mail exchangers of its domain",
                "tls          opportunistic",
                "provider     big, by the exchanger one.mx.example",
                "pool         warm",
                "limit        destination d.example: 8 at a time, 5 to begin with, 7/s",
                "limit        provider big: 50 at a time",
                "limit        tenant 0: 100/m",
                "limit        pool warm: 1000/h, warming up from 2026-11-20, and what is beyond a day goes through cold",
                "exchanger    10 one.mx.example: 192.0.2.1 10.0.0.1",
                "exchanger    20 out.example: not asked",
                "try 1        one.mx.example [192.0.2.1]:25",
                "left out     out.example is this system itself (outbound.own_names, inbound.hostname, ehlo_name)",
                "left out     one.mx.example [10.0.0.1] is a private or reserved address (outbound.allow_private_addresses)",
            ]
        );
        let own = explained(providers, &["a@own.example"]).await;
        assert!(own.contains(&"provider     big, by the exchanger own.example".to_owned()), "{own:?}");
        let policy = "mta-sts      there is a policy that cannot be had: sts-policy-fetch-error: ";
        let policies = |told: &[String]| told.iter().filter(|line| line.starts_with("mta-sts")).count();
        assert!(policies(&own) == 1 && own.iter().any(|line| line.starts_with(policy)), "{own:?}");
    }

    #[tokio::test]
    async fn domains_that_nothing_can_be_sent_to() {
        for (to, expected) in [
            ("a@null.example", "nowhere      null.example takes no mail (null MX) (5.1.10, fails at once)"),
            ("a@nothing.example", "nowhere      domain nothing.example does not exist (5.1.2, fails at once)"),
        ] {
            let told = explained("", &[to]).await;
            assert_eq!(told.last().unwrap(), expected, "{told:?}");
        }
    }

    #[tokio::test]
    async fn how_mail_leaves() {
        let text = "[[outbound.pools]]\nname = \"default\"\nsource_ipv4 = [\"192.0.2.1\"]\n\
                    client_certificate = \"/run/pool.pem\"\nclient_key = \"/run/pool.key\"\n\
                    [[outbound.pools.addresses]]\naddress = \"192.0.2.2\"\nweight = 3\nehlo_name = \"two.example.com\"\n\
                    [[outbound.pools.addresses]]\naddress = \"192.0.2.3\"\nweight = 0\n\
                    [outbound.pools.proxy]\nprotocol = \"proxy-v2\"\nserver = \"192.0.2.9:1080\"\n\
                    [[outbound.routes]]\nhosts = [\"192.0.2.25:465\", \"192.0.2.25:587\"]\n\
                    [[outbound.routes]]\ndomain = \"x.example\"\nhosts = [\"192.0.2.25\"]\ntls = \"off\"";
        assert_eq!(
            explained(text, &["a@d.example"]).await[2..],
            [
                "tls          verified",
                "provider     none",
                "pool         default",
                "address      192.0.2.1, weight 1",
                "address      192.0.2.2, weight 3, as two.example.com",
                "address      192.0.2.3, drained",
                "proxy        proxy-v2 at 192.0.2.9:1080",
                "certificate  /run/pool.pem, to hosts that ask",
                "limit        destination d.example: 20 at a time, 5 to begin with",
                "try 1        192.0.2.25 [192.0.2.25]:465, encrypted from the first octet, with a certificate for 192.0.2.25 by a trusted authority (configuration)",
                "try 2        192.0.2.25 [192.0.2.25]:587, encrypted, with a certificate for 192.0.2.25 by a trusted authority (configuration)",
            ]
        );
        let socks = "[[outbound.pools]]\nname = \"default\"\n[outbound.pools.proxy]\nprotocol = \"socks5\"\n\
                     server = \"192.0.2.9:1080\"\nuser = \"u\"\npassword = \"hidden\"\n[[outbound.routes]]\nhosts = [\"192.0.2.25\"]\n\
                     client_certificate = \"/run/route.pem\"\nclient_key = \"/run/route.key\"";
        let told = explained(socks, &["a@d.example"]).await;
        assert_eq!(
            told[4..7],
            [
                "pool         default",
                "proxy        socks5 at 192.0.2.9:1080, logging in as `u`",
                "certificate  /run/route.pem, to hosts that ask",
            ]
        );
        assert!(!told.concat().contains("hidden"));
        let external = format!("{socks}\nsasl_mechanisms = [\"EXTERNAL\"]");
        let told = explained(&external, &["a@d.example"]).await;
        assert_eq!(
            told[1],
            "route        `all mail` (outbound.routes[0]): to hosts over SMTP, logging in by its certificate"
        );
    }

    #[tokio::test]
    async fn routes_and_why_they_count() {
        let routes = "[[outbound.routes]]\nname = \"smart\"\nhosts = [\"192.0.2.9:587\", \"192.0.2.8\"]\nuser = \"u\"\npassword = \"hidden\"\n\
                      [[outbound.routes]]\nsender = \"corp.example\"\nvia = \"lmtp\"\nhosts = [\"unix:/run/lmtp\"]\n\
                      [[outbound.routes]]\nrecipient = \"x@d.example\"\nvia = \"hold\"\n\
                      [[outbound.routes]]\ndomain = \"web.example\"\nurl = \"https://hooks.example/in?secret=1\"";
        assert_eq!(
            explained(routes, &["a@d.example"]).await,
            [
                "to           a@d.example, from <>, tenant 0, normal",
                "route        `smart` (outbound.routes[0]): to hosts over SMTP, logging in as `u`",
                "tls          verified",
                "provider     none",
                "pool         default",
                "limit        destination d.example: 20 at a time, 5 to begin with",
                "try 1        192.0.2.9 [192.0.2.9]:587, encrypted, with a certificate for 192.0.2.9 by a trusted authority (configuration)",
                "try 2        192.0.2.8 [192.0.2.8]:25, encrypted, with a certificate for 192.0.2.8 by a trusted authority (configuration)",
            ]
        );
        for (arguments, route, way) in [
            (
                &["a@d.example", "--sender", "s@corp.example"][..],
                "`sender corp.example` (outbound.routes[1]): over LMTP",
                "try 1        unix:/run/lmtp",
            ),
            (
                &["x@d.example", "--sender", "<>"],
                "`recipient x@d.example` (outbound.routes[2]): held until an operator releases it",
                "limit        destination d.example: 20 at a time, 5 to begin with",
            ),
            (
                &["x@d.example", "--released"],
                "`smart` (outbound.routes[0]): to hosts over SMTP, logging in as `u`",
                "try 2        192.0.2.8 [192.0.2.8]:25, encrypted, with a certificate for 192.0.2.8 by a trusted authority (configuration)",
            ),
            (
                &["a@web.example"],
                "`domain web.example` (outbound.routes[3]): posted over HTTP",
                "try 1        https://hooks.example/in",
            ),
        ] {
            let told = explained(routes, arguments).await;
            assert_eq!(told[1], format!("route        {route}"));
            assert_eq!(told.last().unwrap(), way);
            assert!(!told.concat().contains("hidden") && !told.concat().contains("secret=1"));
        }
    }
}
