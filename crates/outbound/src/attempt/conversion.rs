//! Content for a remote that lacks 8BITMIME or BINARYMIME (RFC 6152 §3, RFC 3030 §3): converted once an attempt, or refused.
//! Not responsible for how.

use bytes::Bytes;
use mailtier_message::{NotSevenBit, to_seven_bit};
use mailtier_smtp::{Capabilities, RecipientReport};
use mailtier_types::{Cause, TroubleKind};

use super::Attempt;

impl Attempt<'_> {
    /// Whether the remote gets the content in 7 bits: it takes nothing else, and it can be done.
    pub(super) async fn convert_for(&mut self, offered: &Capabilities) -> bool {
        let Some(content) = &self.content else { return false };
        let takes_binary = offered.binary && offered.chunking;
        let is_taken = if self.options.binary {
            takes_binary
        } else {
            offered.eight_bit || content.iter().all(|chunk| chunk.is_ascii())
        };
        if is_taken || !self.rules.converts {
            return false;
        }
        if self.seven_bit.is_none() {
            self.seven_bit = Some(convert(content.clone()).await);
        }
        matches!(self.seven_bit, Some(Ok(_)))
    }

    /// What the remote gets.
    pub(super) fn content_to_send(&self, is_converted: bool) -> Option<&Vec<Bytes>> {
        match &self.seven_bit {
            Some(Ok(seven_bit)) if is_converted => Some(seven_bit),
            _ => self.content.as_ref(),
        }
    }

    /// Says why there was no conversion, where that would have helped.
    pub(super) fn explain_conversion(&self, report: &mut RecipientReport) {
        if let (Some(Err(why)), Cause::Trouble(trouble)) = (&self.seven_bit, &mut report.cause)
            && trouble.kind == TroubleKind::Conversion
        {
            trouble.text.push_str(&format!(", and it cannot be converted: {why}"));
        }
    }
}

/// Large messages take their time, and so do small ones that are made to.
async fn convert(content: Vec<Bytes>) -> Result<Vec<Bytes>, NotSevenBit> {
    let converting = tokio::task::spawn_blocking(move || to_seven_bit(&content.concat()));
    let converted = converting.await.unwrap_or(Err(NotSevenBit::Unreadable));
    converted.map(|content| vec![Bytes::from(content)])
}
