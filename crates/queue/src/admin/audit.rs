//! The audit of a running system: as many pages as fit into one call.

use std::time::{Duration, Instant};

use mailtier_api::ApiError;
use mailtier_api::audit::{AuditReply, AuditRequest, Finding};
use mailtier_store::{Session, Unaccounted};

use super::trouble;

/// So long one call goes on, and one page more.
const BUDGET: Duration = Duration::from_secs(1);
/// With so many findings a call ends: whoever asks knows enough.
const FINDINGS: usize = 1000;

/// Looks until the time is up, enough is found, or the end is reached.
pub(super) async fn audit(session: &mut Session, request: AuditRequest) -> Result<AuditReply, ApiError> {
    let began = Instant::now();
    let mut reply = AuditReply { next: request.after, ..AuditReply::default() };
    if request.after.is_none() {
        let limit = u32::try_from(FINDINGS).unwrap_or(u32::MAX);
        reply.held_and_over = session.audit_held(limit).await.map_err(|error| trouble(&error))?;
    }
    loop {
        let page = session.audit_page(request.from, reply.next, request.until).await;
        let page = page.map_err(|error| trouble(&error))?;
        reply.messages += page.messages;
        reply.recipients += page.recipients;
        reply.findings.extend(page.unaccounted.into_iter().map(finding));
        reply.next = page.next;
        if reply.next.is_none() || reply.findings.len() >= FINDINGS || began.elapsed() >= BUDGET {
            return Ok(reply);
        }
    }
}

fn finding(unaccounted: Unaccounted) -> Finding {
    let Unaccounted { message, recipient, queued } = unaccounted;
    Finding { message, recipient, is_queued: queued }
}
