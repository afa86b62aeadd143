//! XFORWARD, from the client (Postfix's XFORWARD_README): whom a message came from originally, said to a filter or a next
//! server of ours that asks for it. Not responsible for who may know.

use std::net::IpAddr;

use mailtier_types::request::xtext;

use crate::server::ClientAttribute;

/// RFC 5321 §4.5.3.1.4: a command line with its end, in octets.
const MAX_COMMAND_OCTETS: usize = 512;

/// The attributes there are, in the order in which they are said.
const NAMES: [&str; 7] = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"];

/// Those of them that say where the client is.
const PLACE: [&str; 3] = ["NAME", "ADDR", "PORT"];

/// Which attributes a remote asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OriginAttributes(u8);

impl OriginAttributes {
    pub(super) fn parse<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let bit = |name: &str| NAMES.iter().position(|known| known.eq_ignore_ascii_case(name)).map(|place| 1 << place);
        Self(names.filter_map(bit).fold(0, |all, one| all | one))
    }

    fn contains(self, name: &str) -> bool {
        NAMES.iter().position(|known| *known == name).is_some_and(|place| self.0 & (1 << place) != 0)
    }
}

/// The commands, without their ends; none where the remote asks for nothing of it. As Postfix does it, where the client is stands
/// in one of its own: a remote that does not like its address still hears the rest. What does not fit in a line is left out.
pub(super) fn commands(origin: &[ClientAttribute], asked: OriginAttributes) -> Vec<String> {
    if asked == OriginAttributes::default() {
        return Vec::new();
    }
    let (place, rest): (Vec<_>, Vec<_>) = origin.iter().map(said).partition(|(name, _)| PLACE.contains(name));
    [place, rest].into_iter().filter_map(|attributes| command(attributes, asked)).collect()
}

fn command(attributes: Vec<(&'static str, Option<String>)>, asked: OriginAttributes) -> Option<String> {
    let mut command = String::from("XFORWARD");
    let bare = command.len();
    for (name, value) in attributes {
        let word = format!(" {name}={}", value.map_or_else(|| "[UNAVAILABLE]".to_owned(), |value| xtext(&value)));
        if asked.contains(name) && command.len() + word.len() + 2 <= MAX_COMMAND_OCTETS {
            command.push_str(&word);
        }
    }
    (command.len() > bare).then_some(command)
}

fn said(attribute: &ClientAttribute) -> (&'static str, Option<String>) {
    match attribute {
        ClientAttribute::Name(name) => ("NAME", name.clone()),
        ClientAttribute::Address(address) => ("ADDR", address.map(address_text)),
        ClientAttribute::Port(port) => ("PORT", port.map(|port| port.to_string())),
        ClientAttribute::Extended(extended) => ("PROTO", Some(if *extended { "ESMTP" } else { "SMTP" }.to_owned())),
        ClientAttribute::Hello(hello) => ("HELO", hello.clone()),
        ClientAttribute::Ident(ident) => ("IDENT", ident.clone()),
        ClientAttribute::Local(local) => ("SOURCE", Some(if *local { "LOCAL" } else { "REMOTE" }.to_owned())),
        // XCLIENT's alone: no remote asks for them here.
        ClientAttribute::Login(_) => ("LOGIN", None),
        ClientAttribute::ServerAddress(_) => ("DESTADDR", None),
        ClientAttribute::ServerPort(_) => ("DESTPORT", None),
    }
}

fn address_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("IPV6:{address}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_and_fits_is_said() {
        let origin = [
            ClientAttribute::Name(None),
            ClientAttribute::Address(Some("2001:db8::1".parse().unwrap())),
            ClientAttribute::Extended(true),
            ClientAttribute::Hello(Some("a b".to_owned())),
            ClientAttribute::Local(false),
        ];
        let said = |line: &str| commands(&origin, OriginAttributes::parse(line.split(' ')));
        assert_eq!(
            said("name Addr PORT PROTO HELO SOURCE FOO"),
            ["XFORWARD NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1", "XFORWARD PROTO=ESMTP HELO=a+20b SOURCE=REMOTE"]
        );
        assert_eq!(said(""), Vec::<String>::new());
        assert_eq!(said("ADDR"), ["XFORWARD ADDR=IPV6:2001:db8::1"]);
        assert_eq!(said("PORT IDENT LOGIN"), Vec::<String>::new());
        let long = [ClientAttribute::Hello(Some("ü".repeat(255))), ClientAttribute::Local(true)];
        let all = OriginAttributes::parse(NAMES.into_iter());
        assert_eq!(commands(&long, all), ["XFORWARD SOURCE=LOCAL"]);
    }
}
