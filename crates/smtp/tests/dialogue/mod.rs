//! Reads dialogue files (the format is in `dialogues/README.md` beside them) into steps that an engine or a socket can
//! be taken through. Not responsible for either.

pub(crate) mod hostile;

use std::path::{Path, PathBuf};

/// What the server is like in a dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub hostname: String,
    pub max_message_bytes: u64,
    pub max_recipients: usize,
    pub max_errors: u32,
    pub starttls: bool,
    pub tls_required: bool,
    /// TLS gives what logins can be bound to, and the client shows a certificate.
    pub tls_with_certificate: bool,
    pub lmtp: bool,
    pub normalize: bool,
    pub lenient_hello: bool,
    pub max_transactions: usize,
    pub max_hold_seconds: u32,
    pub least_deliver_by_seconds: u32,
    /// Extensions offered beside the usual ones.
    pub offers: Vec<String>,
    /// Extensions that are not offered.
    pub withholds: Vec<String>,
    /// The mechanisms of logins.
    pub sasl: Vec<String>,
    pub sasl_in_clear: bool,
    pub sasl_required: bool,
    pub trusted_proxy: bool,
    /// ETRN, VRFY and EXPN are not for the client.
    pub stranger: bool,
    /// The dialogue needs a clock or a switch that only the engine's driver has.
    pub engine_only: bool,
}

/// The only domain mail is taken for, unless a dialogue's client may relay.
pub(crate) const RELAY_DOMAIN: &str = "example.org";

impl Default for Setting {
    fn default() -> Self {
        Self {
            hostname: "mx.example.org".into(),
            max_message_bytes: 50 * 1024 * 1024,
            max_recipients: 1000,
            max_errors: 20,
            starttls: false,
            tls_required: false,
            tls_with_certificate: false,
            lmtp: false,
            normalize: false,
            lenient_hello: false,
            max_transactions: 0,
            max_hold_seconds: 0,
            least_deliver_by_seconds: 0,
            offers: Vec::new(),
            withholds: Vec::new(),
            sasl: Vec::new(),
            sasl_in_clear: false,
            sasl_required: false,
            trusted_proxy: false,
            stranger: false,
            engine_only: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The client sends these octets. `whole`: in one segment, whatever else is tried.
    Send { octets: Vec<u8>, whole: bool },
    /// The server says this line, given without CRLF. A `*` at the end stands for anything.
    Expect(String),
    /// The handshake takes place.
    Tls,
    /// The client closes its side.
    Eof,
    /// The server has closed.
    Closed,
    /// The longest time the server waits passes.
    Timeout,
    /// The server is told to drain.
    ShutDown,
    /// The last message accepted has exactly this content.
    Message(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(crate) struct Dialogue {
    pub name: String,
    pub setting: Setting,
    pub steps: Vec<Step>,
}

/// Every dialogue of a directory, by name.
pub(crate) fn all(directory: &Path) -> Vec<Dialogue> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| parse(path.file_stem().unwrap().to_str().unwrap(), &std::fs::read_to_string(path).unwrap()))
        .collect()
}

pub(crate) fn parse(name: &str, text: &str) -> Dialogue {
    let mut dialogue = Dialogue { name: name.into(), setting: Setting::default(), steps: Vec::new() };
    let mut whole = false;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}.txt:{}", number + 1);
        match line.split_once(' ').unwrap_or((line, "")) {
            ("C:", rest) => send(&mut dialogue.steps, [unescape(rest, &place), b"\r\n".to_vec()].concat(), whole),
            ("C|", rest) => send(&mut dialogue.steps, unescape(rest, &place), whole),
            ("M:", rest) => message(&mut dialogue.steps, [unescape(rest, &place), b"\r\n".to_vec()].concat()),
            ("S:", rest) => dialogue.steps.push(Step::Expect(rest.into())),
            ("!", rest) => direct(&mut dialogue, rest, &mut whole, &place),
            ("", "") => {}
            (comment, _) if comment.starts_with('#') => {}
            _ => panic!("{place}: neither C: C| S: M: ! nor #"),
        }
        if !line.starts_with('C') && !line.starts_with("! segment") {
            whole = false;
        }
    }
    dialogue
}

fn direct(dialogue: &mut Dialogue, directive: &str, whole: &mut bool, place: &str) {
    let (word, value) = directive.split_once(' ').unwrap_or((directive, ""));
    let setting = &mut dialogue.setting;
    match word {
        "size" => setting.max_message_bytes = value.parse().unwrap(),
        "recipients" => setting.max_recipients = value.parse().unwrap(),
        "errors" => setting.max_errors = value.parse().unwrap(),
        "starttls" => setting.starttls = true,
        "tls-required" => setting.tls_required = true,
        "tls-with-certificate" => setting.tls_with_certificate = true,
        "lmtp" => setting.lmtp = true,
        "normalize" => setting.normalize = true,
        "lenient-hello" => setting.lenient_hello = true,
        "transactions" => setting.max_transactions = value.parse().unwrap(),
        "hold" => setting.max_hold_seconds = value.parse().unwrap(),
        "least-by" => setting.least_deliver_by_seconds = value.parse().unwrap(),
        "offers" => setting.offers = words(value),
        "withholds" => setting.withholds = words(value),
        "sasl" => setting.sasl = words(value),
        "sasl-in-clear" => setting.sasl_in_clear = true,
        "sasl-required" => setting.sasl_required = true,
        "trusted-proxy" => setting.trusted_proxy = true,
        "stranger" => setting.stranger = true,
        "engine-only" => setting.engine_only = true,
        "segment" => *whole = true,
        "tls" => dialogue.steps.push(Step::Tls),
        "eof" => dialogue.steps.push(Step::Eof),
        "closed" => dialogue.steps.push(Step::Closed),
        "timeout" => dialogue.steps.push(Step::Timeout),
        "shut-down" => dialogue.steps.push(Step::ShutDown),
        "message-is-empty" => dialogue.steps.push(Step::Message(Vec::new())),
        _ => panic!("{place}: unknown directive {word}"),
    }
    if matches!(word, "timeout" | "shut-down") {
        dialogue.setting.engine_only = true;
    }
}

fn words(value: &str) -> Vec<String> {
    value.split(' ').map(str::to_owned).collect()
}

/// Lines without anything between them are sent together: pipelined.
fn send(steps: &mut Vec<Step>, octets: Vec<u8>, whole: bool) {
    match steps.last_mut() {
        Some(Step::Send { octets: before, .. }) => before.extend(octets),
        _ => steps.push(Step::Send { octets, whole }),
    }
}

fn message(steps: &mut Vec<Step>, octets: Vec<u8>) {
    match steps.last_mut() {
        Some(Step::Message(before)) => before.extend(octets),
        _ => steps.push(Step::Message(octets)),
    }
}

/// `\r \n \0 \\ \xHH` and `\[count:text]`, which repeats.
fn unescape(text: &str, place: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        octets.extend_from_slice(plain.as_bytes());
        let kind = escaped.chars().next().unwrap_or_else(|| panic!("{place}: lone backslash"));
        rest = &escaped[1..];
        match kind {
            'r' => octets.push(b'\r'),
            'n' => octets.push(b'\n'),
            '0' => octets.push(0),
            '\\' => octets.push(b'\\'),
            'x' => {
                octets.push(u8::from_str_radix(&rest[..2], 16).unwrap_or_else(|_| panic!("{place}: bad \\x")));
                rest = &rest[2..];
            }
            '[' => {
                let (repeat, after) = rest.split_once(']').unwrap_or_else(|| panic!("{place}: \\[ without ]"));
                let (count, what) = repeat.split_once(':').unwrap_or_else(|| panic!("{place}: \\[count:text]"));
                octets.extend(unescape(&what.repeat(count.parse().unwrap()), place));
                rest = after;
            }
            _ => panic!("{place}: unknown escape \\{kind}"),
        }
    }
    octets.extend_from_slice(rest.as_bytes());
    octets
}

/// Whether a line is what a dialogue expects.
pub(crate) fn matches(expected: &str, said: &str) -> bool {
    match expected.strip_suffix('*') {
        Some(beginning) => said.starts_with(beginning),
        None => said == expected,
    }
}
