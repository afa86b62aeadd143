//! What an operator may do: roles, and the one table of the role that each call needs. Not responsible for whose token
//! it is: an [`Authenticator`](crate::access::Authenticator) says so.

use mailtier_config::expected;

use crate::error::ApiError;
use crate::text::line;
use crate::wire;

/// The longest name of whoever uses a token, in octets.
const MAX_PERSON_OCTETS: usize = 120;

/// What a token lets its bearer do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks, but not at contents.
    Viewer,
    /// Changes what is queued.
    Operator,
    /// Everything: contents, users, recipients, tokens.
    Admin,
}

impl Role {
    /// All of them, by what they may do.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];
    /// Their words.
    pub const WORDS: [&'static str; 3] = [Self::Viewer.word(), Self::Operator.word(), Self::Admin.word()];

    /// `viewer`, `operator` or `admin`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// From its word.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: there is no such role.
    pub fn parse(word: &str) -> Result<Self, ApiError> {
        let known = Self::ALL.into_iter().find(|role| role.word() == word);
        known.ok_or_else(|| ApiError::invalid("role", format!("`{word}`: {}", expected(word, &Self::WORDS))))
    }
}

impl From<Role> for wire::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Operator => Self::Operator,
            Role::Admin => Self::Admin,
        }
    }
}

/// From its number on the wire.
pub(crate) fn role(number: i32) -> Result<Role, ApiError> {
    match wire::Role::try_from(number) {
        Ok(wire::Role::Viewer) => Ok(Role::Viewer),
        Ok(wire::Role::Operator) => Ok(Role::Operator),
        Ok(wire::Role::Admin) => Ok(Role::Admin),
        Ok(wire::Role::Unspecified) | Err(_) => {
            Err(ApiError::invalid("role", format!("{number}: {}", expected("", &Role::WORDS))))
        }
    }
}

macro_rules! calls {
    ($($name:ident needs $role:ident;)*) => {
        /// A call of the service Admin.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Call { $(#[doc = concat!("`", stringify!($name), "` of admin.proto.")] $name,)* }

        impl Call {
            /// Every call.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As admin.proto has it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The least role that may.
            #[must_use]
            pub const fn needs(self) -> Role {
                match self { $(Self::$name => Role::$role,)* }
            }
        }
    };
}

// A call that is missing here is refused to everybody, and fails a test below. Content is a matter of its own: see
// `Caller::check_content`.
calls! {
    ListDeliveries needs Viewer;
    CountDeliveries needs Viewer;
    ShowShards needs Viewer;
    ShowStatus needs Viewer;
    ShowMessage needs Viewer;
    Trace needs Viewer;
    ListSuspensions needs Viewer;
    ListSuppressions needs Viewer;
    Audit needs Viewer;
    ChangeDeliveries needs Operator;
    Suspend needs Operator;
    Resume needs Operator;
    PutSuppressions needs Operator;
    DeleteSuppression needs Operator;
    PutUser needs Admin;
    ListUsers needs Admin;
    DeleteUser needs Admin;
    PutAddress needs Admin;
    ListAddresses needs Admin;
    DeleteAddress needs Admin;
    CreateToken needs Admin;
    ListTokens needs Admin;
    RevokeToken needs Admin;
}

impl Call {
    /// From the path of a request, `/mailtier.v1.Admin/Name`.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        Self::ALL.iter().copied().find(|call| call.name() == name)
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token.
    pub name: String,
    /// What it lets its bearer do.
    pub role: Role,
    /// Whether it lets its bearer read contents without being an admin.
    pub content: bool,
}

impl Caller {
    /// The name of whoever shows the token of the configuration.
    pub const ROOT: &'static str = "root";

    /// Whoever shows the token of the configuration.
    #[must_use]
    pub fn root() -> Self {
        Self { name: Self::ROOT.to_owned(), role: Role::Admin, content: true }
    }

    /// Whether this may be called.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] says which role is needed.
    pub fn check(&self, call: Call) -> Result<(), ApiError> {
        self.check_role(call.name(), call.needs())
    }

    pub(crate) fn check_role(&self, what: &str, needed: Role) -> Result<(), ApiError> {
        if self.role >= needed {
            return Ok(());
        }
        let Self { name, role, .. } = self;
        let (role, needed) = (role.word(), needed.word());
        Err(ApiError::Forbidden(format!("{what} needs the role {needed}; the token `{name}` has {role}")))
    }

    /// Whether contents may be read: what people write to one another is not needed for running a queue.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] says what is needed.
    pub fn check_content(&self) -> Result<(), ApiError> {
        if self.content || self.role == Role::Admin {
            return Ok(());
        }
        let advice = "a token with the role admin, or one made with --content";
        Err(ApiError::Forbidden(format!("contents are not shown to the token `{}`: use {advice}", self.name)))
    }

    /// How a change is recorded: under the token's name, so that nobody passes for another, and with the name of
    /// whoever uses it where one is given.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: that name is too long, or more than one line.
    pub fn signature(&self, person: &str) -> Result<String, ApiError> {
        line("operator", person, 0..=MAX_PERSON_OCTETS)?;
        Ok(if person.is_empty() { self.name.clone() } else { format!("{} ({person})", self.name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_PROTO: &[&str] = include!(concat!(env!("OUT_DIR"), "/admin_calls.in"));

    #[test]
    fn every_call_of_the_service_has_its_role_here() {
        let mut here: Vec<_> = Call::ALL.iter().map(|call| call.name()).collect();
        let mut there = OF_PROTO.to_vec();
        here.sort_unstable();
        there.sort_unstable();
        assert_eq!(here, there, "the table of roles and admin.proto");
        for call in Call::ALL {
            assert_eq!(Call::of_path(&format!("/mailtier.v1.Admin/{}", call.name())), Some(*call));
        }
        assert_eq!(Call::of_path("/mailtier.v1.Admin/"), None);
    }

    #[test]
    fn a_role_may_what_those_before_it_may() {
        let caller = |role| Caller { name: "ci-bot".into(), role, content: false };
        for call in Call::ALL {
            let may: Vec<_> = Role::ALL.into_iter().filter(|role| caller(*role).check(*call).is_ok()).collect();
            assert_eq!(may, Role::ALL.into_iter().filter(|role| *role >= call.needs()).collect::<Vec<_>>());
        }
        let refused = caller(Role::Viewer).check(Call::ChangeDeliveries).unwrap_err().to_string();
        assert!(
            refused.contains("ChangeDeliveries needs the role operator; the token `ci-bot` has viewer"),
            "{refused}"
        );
    }

    #[test]
    fn contents_are_for_admins_and_for_tokens_made_for_them() {
        let may = |role, content| Caller { name: "x".into(), role, content }.check_content().is_ok();
        assert!(may(Role::Admin, false) && may(Role::Viewer, true) && may(Role::Operator, true));
        assert!(!may(Role::Viewer, false) && !may(Role::Operator, false));
    }

    #[test]
    fn nobody_signs_for_another() {
        let bot = Caller { name: "ci-bot".into(), role: Role::Operator, content: false };
        assert_eq!(bot.signature("").unwrap(), "ci-bot");
        assert_eq!(bot.signature("root").unwrap(), "ci-bot (root)");
        assert!(bot.signature("two\nlines").unwrap_err().to_string().contains("operator: is more than one line"));
        assert!(bot.signature(&"x".repeat(121)).is_err());
    }

    #[test]
    fn roles_are_words() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.word()).unwrap(), role);
            assert_eq!(super::role(wire::Role::from(role).into()).unwrap(), role);
        }
        let refused = Role::parse("oparator").unwrap_err().to_string();
        assert!(refused.contains("did you mean `operator`?"), "{refused}");
        assert!(super::role(0).is_err() && super::role(9).is_err());
    }
}
