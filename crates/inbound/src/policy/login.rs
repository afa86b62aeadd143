//! Whether a user whose login succeeded may have one more session. Not responsible for whether it succeeded.

use mailtier_types::reply;

use super::Refusal;

/// What is known of a user who has proved who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) user_has_room: bool,
    /// The user's tenant may have one more session, or has this one already.
    pub(crate) tenant_has_room: bool,
}

/// Whether the user may go on.
///
/// # Errors
/// Not now.
pub(crate) fn decide(facts: &Facts) -> Result<(), Refusal> {
    match (facts.user_has_room, facts.tenant_has_room) {
        (false, _) => Err(too_many("Too many sessions of this user", "user_limit")),
        (true, false) => Err(too_many("Too many sessions of this tenant", "tenant_limit")),
        (true, true) => Ok(()),
    }
}

fn too_many(text: &'static str, reason: &'static str) -> Refusal {
    Refusal::new(reply::LOGINS_LIMITED.with_text(text), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_have_one_more_session() {
        for (user_has_room, tenant_has_room, reply) in [
            (true, true, None),
            (false, true, Some("454 4.7.0 Too many sessions of this user")),
            (false, false, Some("454 4.7.0 Too many sessions of this user")),
            (true, false, Some("454 4.7.0 Too many sessions of this tenant")),
        ] {
            let refusal = decide(&Facts { user_has_room, tenant_has_room }).err();
            assert_eq!(refusal.map(|refusal| refusal.reply.to_string()).as_deref(), reply);
        }
    }
}
