//! One message while it is received: envelope, content, and what becomes of both at the end of data. Not responsible
//! for the dialogue.

use std::collections::HashSet;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use mailtier_config::{ListenerProtocol, SuppressionMode};
use mailtier_message::{
    HeaderScan, ReceivedFacts, Transmission, complete, original_headers, received_field, separator, with_keyword,
};
use mailtier_smtp::{BodyType, MailParameters, RcptParameters};
use mailtier_types::{
    Envelope, Mailbox, MessageId, Options, OriginalRecipient, RecipientRequest, Reply, ReversePath, Timestamp, reply,
};
use tracing::Span;

use crate::body::BodyChunks;
use crate::budget::Share;
use crate::peer::Peer;
use crate::policy::content;
use crate::shared::Shared;
use crate::submit::{Message, Route, Upload};

/// The largest header section, in octets. Its fields are looked at before the message is taken.
const MAX_HEADER_OCTETS: usize = 256 << 10;

/// What a recipient takes beside its text.
const RECIPIENT_OCTETS: usize = 64;

/// From MAIL to the end of data.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) parameters: MailParameters,
    pub(crate) recipients: Vec<Mailbox>,
    /// What was asked for some of them.
    pub(crate) requests: Vec<RecipientRequest>,
    /// Some of them are others than were written.
    pub(crate) was_expanded: bool,
    /// It is read and not delivered, and has no other recipient.
    pub(crate) is_report: bool,
    pub(crate) content: Option<Content>,
    /// From MAIL to the verdict.
    pub(crate) span: Span,
    /// A recipient was refused.
    pub(crate) has_refused: bool,
    /// The memory of the envelope.
    share: Share,
}

/// From 354 to the end of data.
#[derive(Debug)]
pub(crate) struct Content {
    scan: HeaderScan,
    /// As they came.
    octets: u64,
    max_octets: u64,
    body: BodyChunks,
    /// Chunks sent ahead.
    upload: Option<Upload>,
    share: Share,
    /// Taken late, because the queue reads in the order of ids.
    id: Option<MessageId>,
    eight_bit: bool,
    header_is_ascii: bool,
    /// The Message-ID that the message lacked.
    added_message_id: Option<String>,
    failure: Option<Reply>,
}

impl Content {
    /// Of at most so many octets.
    pub(crate) fn new(share: Share, max_octets: u64) -> Self {
        Self {
            scan: HeaderScan::new(MAX_HEADER_OCTETS),
            octets: 0,
            max_octets,
            body: BodyChunks::default(),
            upload: None,
            share,
            id: None,
            eight_bit: false,
            header_is_ascii: true,
            added_message_id: None,
            failure: None,
        }
    }

    /// Nothing of the message is needed any more.
    pub(crate) fn drop_all(&mut self, shared: &Shared) {
        self.body = BodyChunks::default();
        self.share.shrink_to(0);
        if let Some(upload) = self.upload.take() {
            shared.submitter.abort(upload);
        }
    }

    /// Looks at content as it comes: what it finds wrong is what the client will be told.
    fn look(&mut self, chunk: &[u8], max_hops: usize) -> Result<(), Reply> {
        self.eight_bit = self.eight_bit || !chunk.is_ascii();
        self.octets += chunk.len() as u64;
        let header_fits = self.scan.is_complete() || self.scan.feed(chunk).is_ok();
        let received_fields = self.scan.received_count();
        let (octets, max_octets) = (self.octets, self.max_octets);
        let facts = content::Facts { has_id: true, header_fits, received_fields, max_hops, octets, max_octets };
        content::decide(&facts).map_err(|refusal| refusal.reply)
    }
}

/// A message that can be submitted, and what is said about it.
pub(crate) struct Ready {
    pub(crate) message: Message,
    /// Octets of the body as it is stored.
    pub(crate) stored_octets: usize,
    /// The way of its chunks that went ahead.
    pub(crate) route: Option<Route>,
    /// Keep the memory of envelope and content accounted for until the verdict.
    pub(crate) shares: [Share; 2],
}

impl Transaction {
    pub(crate) const fn new(parameters: MailParameters, span: Span, share: Share) -> Self {
        Self {
            parameters,
            recipients: Vec::new(),
            requests: Vec::new(),
            was_expanded: false,
            is_report: false,
            content: None,
            span,
            has_refused: false,
            share,
        }
    }

    /// Takes what was sent to a recipient for those who get it, unless there is no memory for that. What was asked for it
    /// holds for each of them, and each is known to its sender by the address he wrote (RFC 3461 §5.2.7).
    pub(crate) fn add(&mut self, written: &RcptParameters, recipients: Vec<Mailbox>) -> bool {
        let is_another = recipients.as_slice() != std::slice::from_ref(&written.mailbox);
        let kind = if written.mailbox.needs_smtputf8() { "utf-8" } else { "rfc822" };
        let as_written = || OriginalRecipient::new(kind, written.mailbox.as_str()).ok();
        let original = written.original.clone().or_else(|| if is_another { as_written() } else { None });
        let asked = written.notify.is_some() || original.is_some();
        let original_octets = original.as_ref().map_or(0, |original| original.address().len());
        let cost = |recipient: &Mailbox| {
            let octets = RECIPIENT_OCTETS + recipient.as_str().len();
            if asked { 2 * octets + original_octets } else { octets }
        };
        if !self.share.grow(recipients.iter().map(cost).sum()) {
            return false;
        }
        self.was_expanded |= is_another;
        if asked {
            let request = |recipient: &Mailbox| RecipientRequest {
                recipient: recipient.clone(),
                notify: written.notify,
                original: original.clone(),
            };
            self.requests.extend(recipients.iter().map(request));
        }
        self.recipients.extend(recipients);
        true
    }

    /// Takes content. After a failure nothing is kept.
    pub(crate) async fn take(&mut self, chunk: &[u8], peer: &Peer, shared: &Shared) {
        if self.content.as_ref().is_none_or(|content| content.failure.is_some()) {
            return;
        }
        if let Err(reply) = self.take_or_fail(chunk, peer, shared).await
            && let Some(content) = &mut self.content
        {
            content.failure = Some(reply);
            content.drop_all(shared);
        }
    }

    async fn take_or_fail(&mut self, mut chunk: &[u8], peer: &Peer, shared: &Shared) -> Result<(), Reply> {
        let Some(content) = &mut self.content else { return Ok(()) };
        content.look(chunk, shared.max_hops)?;
        if !content.share.grow(chunk.len()) {
            return Err(reply::INSUFFICIENT_STORAGE);
        }
        loop {
            let Some(content) = &mut self.content else { return Ok(()) };
            let gathered = content.body.gather(chunk);
            chunk = chunk.get(gathered..).unwrap_or_default();
            if chunk.is_empty() {
                // A chunk that is full stays until more comes: it may be the last.
                return Ok(());
            }
            self.send_ahead(chunk.len(), peer, shared).await?;
        }
    }

    /// Seals a full chunk and uploads it ahead. `rest` is content that waits meanwhile.
    async fn send_ahead(&mut self, rest: usize, peer: &Peer, shared: &Shared) -> Result<(), Reply> {
        let (id, data) = self.seal(peer, shared)?;
        let Some(content) = &mut self.content else { return Ok(()) };
        let upload = content.upload.get_or_insert_with(|| Upload::new(id));
        content.share.shrink_to(upload.kept_octets() + data.len() + rest);
        shared.submitter.upload(upload, data).await?;
        content.share.shrink_to(upload.kept_octets() + rest);
        Ok(())
    }

    /// What was gathered as a chunk; the first begins with our Received field.
    fn seal(&mut self, peer: &Peer, shared: &Shared) -> Result<(MessageId, Bytes), Reply> {
        let fanout = self.fanout();
        let Some(content) = &mut self.content else { return Err(reply::QUEUE_UNAVAILABLE) };
        let now = Timestamp::from_system(SystemTime::now());
        let (id, prefix) = match content.id {
            Some(id) => (id, Vec::new()),
            None => {
                let id = shared.ids.take(fanout, now, Instant::now()).ok_or(reply::QUEUE_UNAVAILABLE)?;
                content.id = Some(id);
                let header = original_headers(content.body.gathered(), MAX_HEADER_OCTETS);
                content.header_is_ascii = header.is_ascii();
                // Only a single recipient is named: others must not learn of each other (RFC 5321 §7.2).
                let recipient = match self.recipients.as_slice() {
                    // Nor whom an alias stands for.
                    [single] if !self.was_expanded => Some(single),
                    _ => None,
                };
                let tls = peer.tls_text();
                let facts = ReceivedFacts {
                    helo: &peer.helo,
                    client_name: peer.name.as_deref(),
                    client_address: peer.address.ip().to_canonical(),
                    by: &shared.hostname,
                    with: protocol(&self.parameters, peer),
                    tls: tls.as_deref(),
                    id,
                    recipient,
                    at: now,
                };
                let mut prefix = received_field(&facts);
                if peer.listener.is_submission() || peer.user.is_some() {
                    // RFC 6409 §8: and only for submission.
                    let added = complete(header, id, &shared.hostname, now);
                    prefix.extend_from_slice(&added.fields);
                    content.added_message_id = added.message_id;
                }
                prefix.extend_from_slice(separator(header, content.body.gathered()));
                (id, prefix)
            }
        };
        let chunk = content.body.seal(&prefix).map_err(|error| {
            tracing::error!(%id, %error, "message refused");
            reply::QUEUE_UNAVAILABLE
        })?;
        Ok((id, chunk))
    }

    /// At the end of data: the message, or why there is none.
    pub(crate) fn finish(mut self, peer: &Peer, shared: &Shared) -> Result<Ready, Reply> {
        if let Some(failure) = self.content.as_mut().and_then(|content| content.failure.take()) {
            return Err(failure);
        }
        let sealed = self.seal(peer, shared);
        let fanout = self.fanout();
        let with = protocol(&self.parameters, peer);
        let smtputf8 = self.needs_smtputf8();
        let Some(mut content) = self.content.take() else { return Err(reply::QUEUE_UNAVAILABLE) };
        let (id, body) = sealed.inspect_err(|_| content.drop_all(shared))?;
        let upload = content.upload.take().unwrap_or_else(|| Upload::new(id));
        let (parts, stored_octets) = (upload.parts(), upload.octets() + body.len());
        content.share.shrink_to(upload.kept_octets() + body.len());
        let (unstored, route) = upload.finish();
        let options = Options {
            // What counts is what the content is, not what was announced: less is asked of the next host.
            eight_bit: content.eight_bit,
            smtputf8,
            traceparent: mailtier_telemetry::traceparent_of(&self.span),
            received_at: Timestamp::from_system(SystemTime::now()),
            client_address: peer.address.ip().to_canonical().to_string(),
            client_helo: peer.helo.clone(),
            protocol: with.to_owned(),
            tls: peer.tls_text().unwrap_or_default(),
            header_message_id: content.added_message_id.unwrap_or_else(|| content.scan.message_id().to_owned()),
            size_bytes: content.body.size_bytes(),
            encoding: content.body.encoding(),
            chunks: parts.saturating_add(1),
            fanout,
            binary: self.parameters.body == BodyType::Binary,
            require_tls: self.parameters.require_tls,
            tls_optional: content.scan.is_tls_optional(),
            ret: self.parameters.ret,
            envelope_id: self.parameters.envelope_id,
            requests: each_once(self.requests, |request| &request.recipient),
            deliver_by: self.parameters.deliver_by,
            release_at: self.parameters.release_at,
            user: peer.user.as_ref().map(|user| user.name.to_string()).unwrap_or_default(),
        };
        let envelope = Envelope {
            sender: self.parameters.sender,
            recipients: each_once(self.recipients, |recipient| recipient),
            tenant: peer.tenant(),
            priority: self.parameters.priority.unwrap_or(0).into(),
            options,
        };
        let screened = peer.is_ours() && shared.suppression.mode_of(peer.tenant()) == SuppressionMode::Fail;
        let message = Message { id, envelope, parts, unstored, body, screened, report: self.is_report };
        Ok(Ready { message, stored_octets, route, shares: [self.share, content.share] })
    }

    /// Deliveries the message becomes: one for each domain.
    fn fanout(&self) -> u16 {
        let mut domains: Vec<&str> = self.recipients.iter().map(Mailbox::domain_str).collect();
        domains.sort_unstable();
        domains.dedup();
        u16::try_from(domains.len()).unwrap_or(u16::MAX)
    }

    /// RFC 6531 §3.2: it is what the message contains that needs SMTPUTF8. Clients announce it for all they send.
    fn needs_smtputf8(&self) -> bool {
        let header_is_ascii = self.content.as_ref().is_none_or(|content| content.header_is_ascii);
        self.parameters.smtputf8
            && (!header_is_ascii
                || self.parameters.sender.mailbox().is_some_and(Mailbox::needs_smtputf8)
                || self.recipients.iter().any(Mailbox::needs_smtputf8))
    }

    /// Its reverse-path.
    pub(crate) const fn sender(&self) -> &ReversePath {
        &self.parameters.sender
    }
}

fn protocol(parameters: &MailParameters, peer: &Peer) -> &'static str {
    with_keyword(Transmission {
        lmtp: peer.listener.protocol == ListenerProtocol::Lmtp,
        extended: peer.extended,
        tls: peer.tls.is_some(),
        authenticated: peer.user.is_some(),
        smtputf8: parameters.smtputf8,
    })
}

/// A recipient given twice gets one copy (RFC 5321 §4.1.1.3 leaves that to us).
fn each_once<T>(all: Vec<T>, recipient: impl Fn(&T) -> &Mailbox) -> Vec<T> {
    if all.len() < 2 {
        return all;
    }
    let mut seen = HashSet::with_capacity(all.len());
    all.into_iter().filter(|one| seen.insert(recipient(one).clone())).collect()
}
