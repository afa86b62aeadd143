//! XCLIENT and XFORWARD, Postfix's definitions (its XCLIENT_README and XFORWARD_README): who the client really is, said
//! by a trusted proxy or filter. Not responsible for who is trusted.

use std::net::IpAddr;
use std::sync::Arc;

use mailtier_types::request::from_xtext;
use mailtier_types::{Reply, reply};

use super::extension::Extension;
use super::session::Asked;
use super::{Question, ServerSession, Verdict};

/// One thing said about a client. Nothing: it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAttribute {
    /// Its host name, as its address resolves.
    Name(Option<String>),
    /// Its address.
    Address(Option<IpAddr>),
    /// Its port.
    Port(Option<u16>),
    /// Whether it said EHLO.
    Extended(bool),
    /// What it said in EHLO or HELO.
    Hello(Option<String>),
    /// Who it logged in as.
    Login(Option<String>),
    /// The address it connected to.
    ServerAddress(Option<IpAddr>),
    /// The port it connected to.
    ServerPort(Option<u16>),
    /// The id the mail had there.
    Ident(Option<String>),
    /// Whether the mail was made there.
    Local(bool),
}

/// The attributes of EHLO's XCLIENT line.
pub(super) const XCLIENT_ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";
/// Whoever stands behind a proxy, it remains the proxy that speaks.
const PROXYS: [Extension; 2] = [Extension::XClient, Extension::XForward];
/// The same of XFORWARD.
pub(super) const XFORWARD_ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO IDENT SOURCE";

impl ServerSession {
    pub(super) fn xclient(&mut self, arguments: &str) {
        if !self.offers(Extension::XClient) {
            return self.refuse(reply::NOT_AUTHORISED);
        }
        match parse(arguments, XCLIENT_ATTRIBUTES) {
            Ok(attributes) => {
                let login = attributes.iter().any(|one| matches!(one, ClientAttribute::Login(Some(_))));
                self.ask(Question::Impersonate(attributes), Asked::Impersonate { login });
            }
            Err(reply) => self.refuse(reply),
        }
    }

    /// The client is another one: the session begins anew, with a greeting.
    pub(super) fn impersonated(&mut self, login: bool, verdict: Verdict) {
        self.abandon();
        self.hello = None;
        self.authenticated = login;
        // What the client before has done is none of this one's doing.
        (self.transactions, self.errors, self.junk, self.excused) = (0, 0, 0, 0);
        if let Verdict::Become { config, permitted } = &verdict {
            self.config = Arc::clone(config);
            self.connection.permitted =
                PROXYS.into_iter().fold(*permitted, |all, one| match self.connection.permitted.contains(one) {
                    true => all.with(one),
                    false => all.without(one),
                });
        }
        self.adjust_line_limit();
        self.connect_answered(verdict);
    }

    pub(super) fn xforward(&mut self, arguments: &str) {
        if !self.offers(Extension::XForward) {
            return self.refuse(reply::NOT_AUTHORISED);
        }
        match parse(arguments, XFORWARD_ATTRIBUTES) {
            Ok(attributes) => self.ask(Question::Forward(attributes), Asked::Forward),
            Err(reply) => self.refuse(reply),
        }
    }
}

/// `NAME=value …`, each name of those allowed, each value xtext or a mark for what is not known.
fn parse(arguments: &str, allowed: &str) -> Result<Vec<ClientAttribute>, Reply> {
    let mut attributes = Vec::new();
    for word in arguments.split(' ').filter(|word| !word.is_empty()) {
        let (name, value) = word.split_once('=').ok_or(reply::SYNTAX)?;
        let name = name.to_ascii_uppercase();
        if !allowed.split(' ').any(|known| known == name) {
            return Err(reply::SYNTAX.with_text("Unknown attribute"));
        }
        let value = match value {
            "[UNAVAILABLE]" | "[TEMPUNAVAIL]" => None,
            value => Some(from_xtext(value).map_err(|_| reply::BAD_PARAMETER)?),
        };
        let is_clean = value.as_ref().is_none_or(|value| !value.is_empty() && !value.chars().any(char::is_control));
        attributes.push(attribute(&name, value).filter(|_| is_clean).ok_or(reply::BAD_PARAMETER)?);
    }
    if attributes.is_empty() { Err(reply::SYNTAX) } else { Ok(attributes) }
}

fn attribute(name: &str, value: Option<String>) -> Option<ClientAttribute> {
    let word = |value: &Option<String>| value.as_deref().unwrap_or_default().to_ascii_uppercase();
    Some(match name {
        "NAME" => ClientAttribute::Name(value),
        "ADDR" => {
            ClientAttribute::Address(value.map(|value| address(&value)).map_or(Some(None), |found| found.map(Some))?)
        }
        "PORT" => ClientAttribute::Port(value.map(|value| value.parse()).transpose().ok()?),
        "HELO" => ClientAttribute::Hello(value),
        "LOGIN" => ClientAttribute::Login(value),
        "DESTADDR" => ClientAttribute::ServerAddress(
            value.map(|value| address(&value)).map_or(Some(None), |found| found.map(Some))?,
        ),
        "DESTPORT" => ClientAttribute::ServerPort(value.map(|value| value.parse()).transpose().ok()?),
        "IDENT" => ClientAttribute::Ident(value),
        "PROTO" => match word(&value).as_str() {
            "ESMTP" => ClientAttribute::Extended(true),
            "SMTP" => ClientAttribute::Extended(false),
            _ => return None,
        },
        "SOURCE" => match word(&value).as_str() {
            "LOCAL" => ClientAttribute::Local(true),
            "REMOTE" | "" => ClientAttribute::Local(false),
            _ => return None,
        },
        _ => return None,
    })
}

/// An IPv4 address, or `IPV6:` and an IPv6 address; the prefix is tolerated away, as Postfix does.
fn address(text: &str) -> Option<IpAddr> {
    let v6 = text.get(..5).filter(|prefix| prefix.eq_ignore_ascii_case("IPV6:")).and_then(|_| text.get(5..));
    v6.map_or_else(|| text.parse().ok(), |text| text.parse().ok().map(IpAddr::V6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_as_postfix_has_them() {
        let parsed =
            parse("NAME=spike.example ADDR=IPV6:2001:db8::1 PORT=[UNAVAILABLE] PROTO=esmtp", XCLIENT_ATTRIBUTES);
        assert_eq!(
            parsed,
            Ok(vec![
                ClientAttribute::Name(Some("spike.example".into())),
                ClientAttribute::Address(Some("2001:db8::1".parse().unwrap())),
                ClientAttribute::Port(None),
                ClientAttribute::Extended(true),
            ])
        );
        let parsed = parse("helo=a+2Bb source=LOCAL ident=4711", XFORWARD_ATTRIBUTES);
        let helo = ClientAttribute::Hello(Some("a+b".into()));
        assert_eq!(parsed, Ok(vec![helo, ClientAttribute::Local(true), ClientAttribute::Ident(Some("4711".into()))]));
        for bad in
            ["", "NAME", "IDENT=1", "ADDR=300.1.1.1", "PORT=70000", "PROTO=HTTP", "NAME=", "NAME=a+0Ab", "NAME=a=b"]
        {
            assert!(parse(bad, XCLIENT_ATTRIBUTES).is_err(), "{bad}");
        }
    }
}
