//! The first stage: whether a client is greeted. Not responsible for clients that are turned away before there is a
//! session (no room, no PROXY header).

use std::time::Duration;

use mailtier_types::reply;

use super::Refusal;

/// What everybody who connects now meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// For how long no queue replica was there.
    pub(crate) queue_down_for: Option<Duration>,
    /// How long that may last.
    pub(crate) patience: Duration,
    pub(crate) memory_is_short: bool,
}

/// Whether anybody is greeted: clients are sent elsewhere before they begin what we could not finish.
///
/// # Errors
/// Nobody is.
pub(crate) fn shed(load: &Load) -> Result<(), Refusal> {
    if load.queue_down_for.is_some_and(|down_for| down_for > load.patience) {
        let reply = reply::SHUTTING_DOWN.with_text("Queue not available, try again later");
        return Err(Refusal::new(reply, "queue_unavailable"));
    }
    if load.memory_is_short {
        let reply = reply::TOO_MANY_SESSIONS.with_text("Too busy, try again later");
        return Err(Refusal::new(reply, "memory_short"));
    }
    Ok(())
}

/// What is known of a client that connected, or that a proxy names with XCLIENT.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// What clients of its network are refused with.
    pub(crate) refuse: Option<&'a str>,
    /// It may send to any recipient, and has no limits of its own.
    pub(crate) trusted: bool,
    /// What clients wait before they are greeted; zero for a client that a proxy names, which has waited there.
    pub(crate) greeting_delay: Duration,
    /// Whether its user, whom a proxy names, may have one more session. Nothing: it has none.
    pub(crate) user_has_room: Option<bool>,
    /// Whether its tenant may have one more session. Nothing: not asked yet.
    pub(crate) tenant_has_room: Option<bool>,
    /// Whether the client may have one more session. Nothing: not asked yet, and asking uses up a rate.
    pub(crate) client_has_room: Option<bool>,
}

/// What becomes of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// That depends on its tenant.
    AskTenant,
    /// That depends on itself.
    AskClient,
    /// It is greeted. Who does not wait for that is turned away by the engine (RFC 5321 §4.3.1).
    Greet {
        /// The wait.
        after: Duration,
    },
}

/// Whether this client is greeted.
///
/// # Errors
/// It is not.
pub(crate) fn decide(facts: &Facts<'_>) -> Result<Admission, Refusal> {
    if let Some(text) = facts.refuse {
        return Err(Refusal::new(reply::NO_SERVICE.with_text(text.to_owned()), "network_refused"));
    }
    if facts.user_has_room == Some(false) {
        return Err(too_many("Too many sessions of this user", "user_limit"));
    }
    // Before the client, whose rate would be used up.
    match facts.tenant_has_room {
        None => return Ok(Admission::AskTenant),
        Some(false) => return Err(too_many("Too many sessions of this tenant", "tenant_limit")),
        Some(true) => {}
    }
    if facts.trusted {
        return Ok(Admission::Greet { after: Duration::ZERO });
    }
    match facts.client_has_room {
        None => Ok(Admission::AskClient),
        Some(false) => Err(too_many("Too many connections from your address", "client_limit")),
        Some(true) => Ok(Admission::Greet { after: facts.greeting_delay }),
    }
}

fn too_many(text: &'static str, reason: &'static str) -> Refusal {
    Refusal::new(reply::TOO_MANY_SESSIONS.with_text(text), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: Facts<'_> = Facts {
        refuse: None,
        trusted: false,
        greeting_delay: Duration::from_secs(5),
        user_has_room: None,
        tenant_has_room: None,
        client_has_room: None,
    };
    const TRUSTED: Facts<'_> = Facts { trusted: true, ..STRANGER };

    /// The admission, or the reason and reply of the refusal.
    fn decided(facts: &Facts<'_>) -> Result<Admission, (&'static str, String)> {
        decide(facts).map_err(|refusal| (refusal.reason, refusal.reply.to_string()))
    }

    #[test]
    fn who_is_greeted() {
        let greet = |seconds| Ok(Admission::Greet { after: Duration::from_secs(seconds) });
        let tenant_has = |room| Facts { tenant_has_room: Some(room), ..STRANGER };
        for (case, facts, expected) in [
            ("a stranger's tenant is asked first", STRANGER, Ok(Admission::AskTenant)),
            ("and of a client of ours as well", TRUSTED, Ok(Admission::AskTenant)),
            ("a user as well", Facts { user_has_room: Some(true), ..STRANGER }, Ok(Admission::AskTenant)),
            ("then the client", tenant_has(true), Ok(Admission::AskClient)),
            ("who waits", Facts { client_has_room: Some(true), ..tenant_has(true) }, greet(5)),
            ("ours are neither counted nor kept waiting", Facts { trusted: true, ..tenant_has(true) }, greet(0)),
        ] {
            assert_eq!(decided(&facts), expected, "{case}");
        }
    }

    #[test]
    fn who_is_not() {
        let refused = Facts { refuse: Some("Go away"), ..STRANGER };
        let tenant_full = Facts { tenant_has_room: Some(false), ..STRANGER };
        let user_full = Facts { user_has_room: Some(false), ..STRANGER };
        let client_full = Facts { tenant_has_room: Some(true), client_has_room: Some(false), ..STRANGER };
        let (of_tenant, of_client) =
            ("421 4.7.0 Too many sessions of this tenant", "421 4.7.0 Too many connections from your address");
        for (case, facts, reason, reply) in [
            ("a network", refused, "network_refused", "554 5.7.1 Go away"),
            ("even one of ours", Facts { trusted: true, ..refused }, "network_refused", "554 5.7.1 Go away"),
            ("a user with too many", user_full, "user_limit", "421 4.7.0 Too many sessions of this user"),
            (
                "even from a network of ours",
                Facts { trusted: true, ..user_full },
                "user_limit",
                "421 4.7.0 Too many sessions of this user",
            ),
            ("a tenant with too many", tenant_full, "tenant_limit", of_tenant),
            ("even one of ours", Facts { trusted: true, ..tenant_full }, "tenant_limit", of_tenant),
            ("a client with too many", client_full, "client_limit", of_client),
        ] {
            assert_eq!(decided(&facts), Err((reason, reply.to_owned())), "{case}");
        }
    }

    #[test]
    fn when_nobody_is() {
        let seconds = Duration::from_secs;
        let idle = Load { queue_down_for: None, patience: seconds(30), memory_is_short: false };
        let down = |for_seconds| Load { queue_down_for: Some(seconds(for_seconds)), ..idle };
        for (case, load, reason) in [
            ("all is well", idle, None),
            ("the queue may come back", down(30), None),
            ("the queue is away for long", down(31), Some("queue_unavailable")),
            ("memory is short", Load { memory_is_short: true, ..idle }, Some("memory_short")),
        ] {
            let refusal = shed(&load).err();
            assert_eq!(refusal.as_ref().map(|refusal| refusal.reason), reason, "{case}");
            assert!(refusal.is_none_or(|refusal| refusal.reply.code == 421), "{case}: there may be another replica");
        }
    }
}
