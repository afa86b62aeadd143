//! Whether a user whose login succeeded may have one more session. Not responsible for whether it succeeded.

use mailtier_types::reply;

use super::Refusal;

/// What is known of a user who has proved who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) user_has_room: bool,
}

/// Whether the user may go on.
///
/// # Errors
/// Not now.
pub(crate) fn decide(facts: &Facts) -> Result<(), Refusal> {
    match facts.user_has_room {
        true => Ok(()),
        false => {
            let reply = reply::LOGINS_LIMITED.with_text("Too many sessions of this user");
            Err(Refusal::new(reply, "user_limit"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_have_one_more_session() {
        for (user_has_room, reply) in [(true, None), (false, Some("454 4.7.0 Too many sessions of this user"))] {
            let refusal = decide(&Facts { user_has_room }).err();
            assert_eq!(refusal.map(|refusal| refusal.reply.to_string()).as_deref(), reply);
        }
    }
}
