//! What rules can say, in which order they count, and what is said of those that are wrong.

use std::time::Duration;

use mailtier_schedule::{Action, Classification, Feedback, Judgement, Verdict, Whom, feedback};
use mailtier_types::{BounceClass, Cause, Egress, Outcome, RemoteHost, Reply, Stage, Timestamp, Trouble, TroubleKind};

fn said(stage: Stage, code: u16, enhanced: &str, text: &str) -> Outcome {
    let reply = Reply::received(code, enhanced.parse().ok(), text.to_owned());
    Outcome::new(stage, Cause::Reply(reply), Timestamp::EPOCH)
}

fn at(exchanger: &str, outcome: Outcome) -> Outcome {
    Outcome { remote: Some(RemoteHost { name: exchanger.to_owned(), address: None }), ..outcome }
}

/// Nothing but these.
fn only(rules: &str) -> Classification {
    Classification::new(Some(&format!("builtin = false\n{rules}"))).unwrap()
}

fn class(rules: &Classification, outcome: &Outcome) -> &'static str {
    rules.judge(outcome).unwrap().class.name()
}

#[test]
fn everything_a_rule_asks_for_is_to_be_so() {
    let rules = only(
        r#"
        [exchangers]
        big = ["big.example"]
        [[rules]]
        name = "all"
        at = "big"
        stages = ["rcpt", "final"]
        codes = ["45x"]
        enhanced = ["x.7.9"]
        texts = ["nothing like it", "blue+ moon"]
        class = "spam"
        "#,
    );
    let fits = at("mx.big.example", said(Stage::Rcpt, 451, "4.7.9", "Once in a BLUEE\nmoon"));
    assert_eq!(class(&rules, &fits), "spam");
    for other in [
        at("mx.notbig.example", said(Stage::Rcpt, 451, "4.7.9", "blue moon")),
        said(Stage::Rcpt, 451, "4.7.9", "blue moon"),
        at("mx.big.example", said(Stage::Mail, 451, "4.7.9", "blue moon")),
        at("mx.big.example", said(Stage::Rcpt, 421, "4.7.9", "blue moon")),
        at("mx.big.example", said(Stage::Rcpt, 551, "5.7.9", "blue moon")),
        at("mx.big.example", said(Stage::Rcpt, 451, "4.7.8", "blue moon")),
        at("mx.big.example", said(Stage::Rcpt, 451, "", "blue moon")),
        at("mx.big.example", said(Stage::Rcpt, 451, "4.7.9", "red moon")),
    ] {
        assert_ne!(class(&rules, &other), "spam", "{other:?}");
    }
}

#[test]
fn an_operators_rules_come_first_and_the_first_counts() {
    let own = r#"
        [[rules]]
        name = "first"
        codes = ["550"]
        texts = ["no such user"]
        class = "policy"
        verdict = "temporary"
        action = "suspend"
        on = "provider"
        for = "30m"
        [[rules]]
        name = "second"
        codes = ["5xx"]
        texts = ["no such user", "paused"]
        class = "content"
        action = "slow_down"
    "#;
    let (with, without) = (Classification::new(Some(own)).unwrap(), Classification::new(None).unwrap());
    let outcome = said(Stage::Rcpt, 550, "5.1.1", "No such user");
    let time = Duration::from_secs(1800);
    let expected = Judgement {
        class: BounceClass::Policy,
        verdict: Verdict::Temporary,
        action: Some(Action::Suspend { whom: Whom::Provider, time }),
        switches: false,
        rule: Some("first"),
    };
    assert_eq!(with.judge(&outcome), Some(expected));
    let outcome = said(Stage::Rcpt, 553, "", "paused");
    let expected = Judgement {
        class: BounceClass::Content,
        verdict: Verdict::Permanent,
        action: Some(Action::SlowDown),
        switches: false,
        rule: Some("second"),
    };
    assert_eq!(with.judge(&outcome), Some(expected));
    assert_eq!(class(&with, &said(Stage::Rcpt, 451, "", "greylisted")), "greylisted", "the built-in ones come after");
    assert_eq!(class(&without, &said(Stage::Rcpt, 550, "5.1.1", "No such user")), "invalid_mailbox");
    assert_eq!(without.judge(&said(Stage::Final, 250, "2.0.0", "greylisted, no such user")), None);
}

#[test]
fn without_rules_the_codes_count() {
    let rules = only("");
    let judge = |stage, code, enhanced| rules.judge(&said(stage, code, enhanced, "text")).unwrap();
    for stage in [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Final] {
        assert_eq!(judge(stage, 550, "5.1.1").verdict, Verdict::Permanent, "{stage:?}");
        for code in [451, 421, 354] {
            assert_eq!(judge(stage, code, "").verdict, Verdict::Temporary, "{stage:?}");
        }
    }
    // Before MAIL a refusal is about the host (RFC 5321 §3.1).
    for stage in [Stage::Connect, Stage::Banner, Stage::Ehlo, Stage::StartTls] {
        assert_eq!(judge(stage, 554, "5.7.1").verdict, Verdict::Temporary, "{stage:?}");
    }
    // The code decides, and not the enhanced code.
    assert_eq!(judge(Stage::Rcpt, 550, "4.2.1").verdict, Verdict::Permanent);
    assert_eq!(judge(Stage::Rcpt, 450, "5.2.1").verdict, Verdict::Temporary);
    // RFC 5321 §4.5.3.1.10: too many recipients in its old form.
    for (stage, enhanced, verdict) in [
        (Stage::Rcpt, "", Verdict::Temporary),
        (Stage::Rcpt, "5.5.3", Verdict::Temporary),
        (Stage::Rcpt, "5.2.2", Verdict::Temporary),
        (Stage::Rcpt, "5.3.4", Verdict::Permanent),
        (Stage::Final, "", Verdict::Permanent),
        (Stage::Mail, "5.5.3", Verdict::Permanent),
    ] {
        assert_eq!(judge(stage, 552, enhanced).verdict, verdict, "{stage:?} {enhanced}");
    }
    for (stage, code, enhanced, class) in [
        (Stage::Banner, 421, "4.3.0", "unavailable"),
        (Stage::Banner, 554, "5.7.1", "policy"),
        (Stage::Banner, 421, "4.7.0", "rate_limited"),
        (Stage::StartTls, 454, "", "tls"),
        (Stage::Mail, 451, "4.7.500", "rate_limited"),
        (Stage::Mail, 250, "", "protocol"),
        (Stage::Rcpt, 451, "4.7.1", "greylisted"),
        (Stage::Rcpt, 556, "5.1.10", "invalid_domain"),
        (Stage::Rcpt, 550, "", "other"),
        (Stage::Final, 550, "5.7.26", "authentication"),
        (Stage::Final, 451, "4.3.0", "remote_trouble"),
        (Stage::Final, 554, "5.6.0", "content"),
    ] {
        assert_eq!(judge(stage, code, enhanced).class.name(), class, "{stage:?} {code} {enhanced}");
    }
}

#[test]
fn where_nobody_said_anything_the_kind_of_trouble_counts() {
    use TroubleKind as Kind;
    let rules = Classification::new(None).unwrap();
    for (kind, class, verdict) in [
        (Kind::DnsTemporary, "dns", Verdict::Temporary),
        (Kind::NoSuchDomain, "invalid_domain", Verdict::Permanent),
        (Kind::NullMx, "invalid_domain", Verdict::Permanent),
        (Kind::Connect, "network", Verdict::Temporary),
        (Kind::Timeout, "network", Verdict::Temporary),
        (Kind::Closed, "network", Verdict::Temporary),
        (Kind::Tls, "tls", Verdict::Temporary),
        (Kind::Protocol, "protocol", Verdict::Temporary),
        (Kind::Conversion, "protocol", Verdict::Permanent),
        (Kind::Smtputf8, "protocol", Verdict::Permanent),
        (Kind::Loop, "dns", Verdict::Permanent),
        (Kind::NotCapable, "protocol", Verdict::Permanent),
        (Kind::RequireTls, "tls", Verdict::Permanent),
        (Kind::Administrative, "administrative", Verdict::Permanent),
        (Kind::Local, "local_trouble", Verdict::Temporary),
    ] {
        let cause = Cause::Trouble(Trouble { kind, text: "no such user".to_owned() });
        let judgement = rules.judge(&Outcome::new(Stage::Connect, cause, Timestamp::EPOCH)).unwrap();
        assert_eq!((judgement.class.name(), judgement.verdict), (class, verdict), "{kind:?}");
    }
}

#[test]
fn what_is_wrong_is_named_with_what_would_be_right() {
    let rule = |keys: &str| format!("[[rules]]\nname = \"mine\"\n{keys}");
    for (text, said) in [
        ("rules".to_owned(), "line 1"),
        ("ruels = []".to_owned(), "`ruels` is no key; did you mean `rules`?"),
        ("builtin = 1".to_owned(), "`builtin` is neither true nor false"),
        ("rules = 1".to_owned(), "[[rules]]"),
        ("[exchangers]\nbig = \"big.example\"".to_owned(), "`exchangers` is to have lists"),
        ("[[rules]]\nclass = \"spam\"".to_owned(), "rule `1`: `name` is missing"),
        (rule(""), "rule `mine`: `class` is missing"),
        (rule("class = \"spam\"\ntext = [\"x\"]"), "rule `mine`: `text` is no key; did you mean `texts`?"),
        (rule("class = \"greylist\""), "rule `mine`: `class` is `greylist`; did you mean `greylisted`?"),
        (rule("class = \"spam\"\nverdict = \"permanant\""), "`verdict` is `permanant`; did you mean `permanent`?"),
        (rule("class = \"spam\"\nstages = [\"rctp\"]"), "`stages` has `rctp`; did you mean `rcpt`?"),
        (rule("class = \"spam\"\ncodes = [\"250\"]"), "`codes` has `250`; expected such as 421 or 5xx"),
        (rule("class = \"spam\"\ncodes = [550]"), "`codes` is [550]; expected a list of texts in quotes"),
        (rule("class = \"spam\"\ncodes = []"), "`codes` is []; expected a list"),
        (rule("class = \"spam\"\nenhanced = [\"5.7\"]"), "`enhanced` has `5.7`; expected such as 4.7.28"),
        (rule("class = \"spam\"\ntexts = [\"fine\", \"(\"]"), "rule `mine`: `texts` has `(`: error: unclosed group"),
        (rule("class = \"spam\"\ntexts = [\"(a{1000}){1000}\"]"), "`texts` has `(a{1000}){1000}`"),
        (rule("class = \"spam\"\nat = \"big\""), "`at` is `big`, which [exchangers] does not name"),
        (
            rule("class = \"spam\"\naction = \"stop\""),
            "`action` is `stop`; there are slow_down, suspend, switch_address",
        ),
        (rule("class = \"spam\"\naction = \"suspend\""), "`for` is missing"),
        (rule("class = \"spam\"\naction = \"suspend\"\nfor = \"2d\""), "`for` is `2d`; expected 1s to 24h"),
        (
            rule("class = \"spam\"\naction = \"switch_address\""),
            "`for` is missing: say how long to leave the address alone",
        ),
        (rule("class = \"spam\"\naction = \"switch_adress\""), "did you mean `switch_address`?"),
        (rule("class = \"spam\"\naction = \"slow_down\"\nfor = \"1h\""), "`for` has no meaning with `slow_down`"),
        (rule("class = \"spam\"\naction = \"slow_down\"\non = \"provider\""), "`on` is `provider`, which has no speed"),
        (rule("class = \"spam\"\non = \"provider\""), "`on` is set without an `action`"),
        (rule("class = \"spam\"\n[[rules]]\nname = \"mine\"\nclass = \"spam\""), "rule `mine`: `name` is there twice"),
        (rule("class = \"spam\"").replace("mine", "greylisting"), "is that of a built-in rule"),
    ] {
        let error = Classification::new(Some(&text)).unwrap_err().to_string();
        assert!(error.contains(said), "{text}\n{error}\n{said}");
    }
}

/// As it left from an address of a pool that has others, or has none.
fn left(has_others: bool, outcome: Outcome) -> Outcome {
    let source = Some([192, 0, 2, 1].into());
    Outcome { egress: Some(Egress { pool: "main".to_owned(), source, has_others }), ..outcome }
}

#[test]
fn what_is_said_of_one_address_is_not_the_last_word_where_there_are_others() {
    let rules = only(
        r#"
        [[rules]]
        name = "blocked"
        texts = ["your address is blocked"]
        class = "blocklisted"
        verdict = "permanent"
        action = "switch_address"
        on = "provider"
        for = "2h"
        "#,
    );
    let refusal = || said(Stage::Rcpt, 554, "5.7.1", "your address is blocked");
    let action = Some(Action::SwitchAddress { whom: Whom::Provider, time: Duration::from_secs(7200) });
    for (outcome, verdict, switches) in [
        (left(true, refusal()), Verdict::Temporary, true),
        (left(false, refusal()), Verdict::Permanent, false),
        // The system chose the address: there is no telling which it was.
        (refusal(), Verdict::Permanent, false),
    ] {
        let judgement = rules.judge(&outcome).unwrap();
        assert_eq!((judgement.verdict, judgement.switches, judgement.action), (verdict, switches, action));
        assert_eq!(judgement.class, BounceClass::Blocklisted);
    }
    let other = left(true, said(Stage::Rcpt, 550, "5.1.1", "no such user"));
    let judgement = rules.judge(&other).unwrap();
    assert_eq!((judgement.verdict, judgement.switches), (Verdict::Permanent, false));
}

#[test]
fn a_refusal_of_an_address_says_nothing_of_the_destination() {
    let rules = Classification::new(None).unwrap();
    let text = "Service unavailable; client [192.0.2.1] blocked using zen.spamhaus.org";
    for (stage, code, has_others, expected) in [
        (Stage::Banner, 554, true, Feedback::Nothing),
        (Stage::Banner, 554, false, Feedback::Unreachable),
        (Stage::Mail, 421, true, Feedback::Nothing),
        (Stage::Rcpt, 554, true, Feedback::Good),
    ] {
        let outcome = left(has_others, said(stage, code, "", text));
        assert_eq!(feedback([(&outcome, rules.judge(&outcome))]), expected, "{outcome}");
    }
}
