//! The one table of what can be asked over HTTP: methods, paths, parameters, bodies, answers. Requests are routed and
//! judged by it, and the OpenAPI document is written from it. Not responsible for answering.

use serde_json::Value;

use super::filter::FILTER;
use crate::change::DeliveryChange;
use crate::counts::GroupBy;
use crate::json::shape::{Described, Schemas};
use crate::json::{
    AddressTargets, Addresses, Audit, Change, Changed, ChangedDeliveries, Count, Deliveries, Events, MadeToken,
    Message, NewToken, NewUser, Shards, Status, Suppress, Suppressions, Suspend, Suspensions, Tokens, UserChanges,
    Users,
};
use crate::roles::{Call, Role};
use crate::suspensions::Scope;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Document,
    ListDeliveries,
    ChangeDeliveries,
    CountDeliveries,
    ShowShards,
    ShowStatus,
    ShowMessage,
    ShowContent,
    Trace,
    Audit,
    ListSuspensions,
    PutSuspension,
    DeleteSuspension,
    ListSuppressions,
    PutSuppressions,
    DeleteSuppression,
    ListUsers,
    CreateUser,
    ChangeUser,
    DeleteUser,
    ListAddresses,
    PutAddress,
    DeleteAddress,
    ListTokens,
    CreateToken,
    DeleteToken,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
}

/// What a parameter's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// A whole number.
    Number,
    /// 1 to 1000; 100 when not given.
    Limit,
    /// RFC 3339.
    Time,
    /// One of these.
    Word(&'static [&'static str]),
}

/// A parameter.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) about: &'static str,
}

pub(crate) const fn query(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { name, place: Place::Query, kind, about }
}

const fn path(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { name, place: Place::Path, kind, about }
}

const ID: Parameter = path("id", Kind::Text, "The message's id, such as `0003g9230vqvs`.");
const LIMIT: Parameter = query("limit", Kind::Limit, "At the most.");
const AFTER: Parameter = query("after", Kind::Text, "What the page before said is `next`.");
const OPERATOR: Parameter =
    query("operator", Kind::Text, "Who uses the token; appended to its name where the change is recorded.");
const TENANT: Parameter = path("tenant", Kind::Number, "Whose list.");
const CHANGE: Parameter = path("change", Kind::Word(DeliveryChange::NAMES), "What is done.");
const SCOPE_KIND: Parameter = path("kind", Kind::Word(Scope::KINDS), "What `name` names.");
const SCOPE_NAME: Parameter = path(
    "name",
    Kind::Text,
    "A domain, a tenant's number, or a provider or pool of the configuration; `mail` for everything.",
);

/// What a body looks like.
pub(crate) struct Body {
    pub(crate) schema: fn(&mut Schemas) -> Value,
    pub(crate) fields: &'static [&'static str],
}

/// What an answer looks like.
#[derive(Clone, Copy)]
pub(crate) enum Answered {
    Json(fn(&mut Schemas) -> Value),
    /// RFC 5322.
    Message,
    /// The OpenAPI document.
    Document,
}

/// One line of the table.
pub(crate) struct Operation {
    pub(crate) op: Op,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// Its role is that of this call; without one, any token will do.
    pub(crate) call: Option<Call>,
    pub(crate) about: &'static str,
    own: &'static [Parameter],
    shared: &'static [Parameter],
    pub(crate) body: Option<Body>,
    /// Of success.
    pub(crate) status: u16,
    pub(crate) answer: Answered,
}

impl Operation {
    /// What it takes beside a body.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &'static Parameter> + Clone + use<> {
        self.own.iter().chain(self.shared)
    }

    /// The least role that may.
    pub(crate) fn needs(&self) -> Role {
        self.call.map_or(Role::Viewer, Call::needs)
    }
}

macro_rules! operations {
    ($($op:ident: $method:ident $path:literal $(as $call:ident)?, $about:literal,
        [$($parameter:expr),*] $(and $shared:ident)? $(, takes $body:ident)?, $status:literal $answer:ident $(of $shape:ident)?;)*) => {
        /// The table.
        pub(crate) const OPERATIONS: &[Operation] = &[$(Operation {
            op: Op::$op,
            method: stringify!($method),
            path: $path,
            call: operations!(@call $($call)?),
            about: $about,
            own: &[$($parameter),*],
            shared: operations!(@shared $($shared)?),
            body: operations!(@body $($body)?),
            status: $status,
            answer: operations!(@answer $answer $($shape)?),
        }),*];
    };
    (@shared) => { &[] };
    (@shared $shared:ident) => { $shared };
    (@call) => { None };
    (@call $call:ident) => { Some(Call::$call) };
    (@body) => { None };
    (@body $body:ident) => { Some(Body { schema: <$body as Described>::schema, fields: $body::FIELDS }) };
    (@answer json $shape:ident) => { Answered::Json(<$shape as Described>::schema) };
    (@answer message) => { Answered::Message };
    (@answer document) => { Answered::Document };
}

operations! {
    Document: GET "/v1/openapi.json", "This document.", [], 200 document;

    ListDeliveries: GET "/v1/deliveries" as ListDeliveries, "Lists what is queued and fits all that is said of it, oldest first, by pages. A page may have less than `limit`, or \
         nothing, although more follow: one call looks at a bounded number.", [
        LIMIT, AFTER
    ] and FILTER, 200 json of Deliveries;
    ChangeDeliveries: POST "/v1/deliveries/{change}" as ChangeDeliveries,
        "Changes what fits all that is said in the query and the body: a bounded part of it, in batches that are changed as a \
         whole or not at all. Holds deliveries, releases them, attempts them now, bounces them, deletes them without telling \
         anyone, or sends their next attempts another way.", [CHANGE, OPERATOR] and FILTER,
        takes Change, 200 json of ChangedDeliveries;
    CountDeliveries: GET "/v1/deliveries/count" as CountDeliveries,
        "Counts what is queued and fits all that is said of it, in groups: a part in each call. While `next` is not null, go \
         on with it as `after`, and add the parts up.", [
        query("by", Kind::Word(GroupBy::WORDS), "What the deliveries of a group have in common; all are one when not given."),
        query("at", Kind::Time, "Ages are as of then; now when not given."),
        AFTER
    ] and FILTER, 200 json of Count;

    ShowMessage: GET "/v1/messages/{id}" as ShowMessage, "Shows a message: what is left of it, and its history.", [ID],
        200 json of Message;
    ShowContent: GET "/v1/messages/{id}/content" as ShowMessage,
        "The content of a message, octet by octet, until its last delivery is over. Needs the role admin, or a token made \
         for contents.", [ID], 200 message;
    Trace: GET "/v1/trace" as Trace,
        "What happened to a message, to those with a Message-ID field, or to the mail of an address; the newest. One call \
         searches for about a second: while `next_until` is not null, go on with it as `until`.", [
        query("message", Kind::Text, "The message's id; this, `address` or `message_id_field`."),
        query("address", Kind::Text, "A sender or recipient."),
        query("message_id_field", Kind::Text, "The field Message-ID with its angle brackets; `limit` counts messages then."),
        query("since", Kind::Time, "Only since then; two days ago when not given, of a message by its id ever."),
        query("until", Kind::Time, "Only before then."),
        LIMIT
    ], 200 json of Events;

    Audit: GET "/v1/audit" as Audit,
        "Proves of a part of the messages that each accepted recipient is in exactly one state. While `next` is not null, go \
         on with it as `after`, and with the same times.", [
        query("since", Kind::Time, "Of messages accepted from then on; of all that history has when not given."),
        query("until", Kind::Time, "And before then; until now when not given."),
        AFTER
    ], 200 json of Audit;

    ShowShards: GET "/v1/shards" as ShowShards, "Which queue replicas live, and who owns which shard.", [],
        200 json of Shards;
    ShowStatus: GET "/v1/status" as ShowStatus,
        "How the replica that is asked stands: what it has in memory, and which workers are connected.", [], 200 json of Status;

    ListSuspensions: GET "/v1/suspensions" as ListSuspensions, "Lists what is suspended, by pages.", [LIMIT, AFTER],
        200 json of Suspensions;
    PutSuspension: PUT "/v1/suspensions/{kind}/{name}" as Suspend,
        "Attempts nothing more to a domain or a provider, of a tenant, or through a pool, on any replica. Said again, it \
         replaces what was said before.", [SCOPE_KIND, SCOPE_NAME, OPERATOR], takes Suspend, 200 json of Changed;
    DeleteSuspension: DELETE "/v1/suspensions/{kind}/{name}" as Resume, "Attempts again what was suspended.",
        [SCOPE_KIND, SCOPE_NAME, OPERATOR], 200 json of Changed;

    ListSuppressions: GET "/v1/suppressions" as ListSuppressions,
        "Lists recipients that tenants' mail is not sent to any more, by pages.", [
        query("tenant", Kind::Number, "Of this tenant alone."),
        query("address", Kind::Text, "This recipient alone."),
        LIMIT,
        AFTER
    ], 200 json of Suppressions;
    PutSuppressions: POST "/v1/suppressions/{tenant}" as PutSuppressions,
        "Puts recipients on a tenant's list, all or none of them. Said again, it replaces what was said before.",
        [TENANT, OPERATOR], takes Suppress, 200 json of Changed;
    DeleteSuppression: DELETE "/v1/suppressions/{tenant}/{address}" as DeleteSuppression,
        "Takes a recipient off a tenant's list.",
        [TENANT, path("address", Kind::Text, "The recipient."), OPERATOR], 200 json of Changed;

    ListUsers: GET "/v1/users" as ListUsers, "Lists the users who may log in, by pages.", [LIMIT, AFTER],
        200 json of Users;
    CreateUser: POST "/v1/users" as PutUser, "Makes a user.", [OPERATOR], takes NewUser, 201 json of Changed;
    ChangeUser: PATCH "/v1/users/{name}" as PutUser, "Changes what is given of a user.",
        [path("name", Kind::Text, "The user."), OPERATOR], takes UserChanges, 200 json of Changed;
    DeleteUser: DELETE "/v1/users/{name}" as DeleteUser, "Removes a user.",
        [path("name", Kind::Text, "The user."), OPERATOR], 200 json of Changed;

    ListAddresses: GET "/v1/addresses" as ListAddresses, "Lists the known recipients, by pages.", [LIMIT, AFTER],
        200 json of Addresses;
    PutAddress: PUT "/v1/addresses/{pattern}" as PutAddress,
        "Makes a recipient known, or changes who gets its mail.",
        [path("pattern", Kind::Text, "`user@example.com`, or `@example.com` for all of a domain that are not named."), OPERATOR],
        takes AddressTargets, 200 json of Changed;
    DeleteAddress: DELETE "/v1/addresses/{pattern}" as DeleteAddress, "Forgets a recipient.",
        [path("pattern", Kind::Text, "As it was made known."), OPERATOR], 200 json of Changed;

    ListTokens: GET "/v1/tokens" as ListTokens, "Lists the tokens, without their secrets, by pages.", [LIMIT, AFTER],
        200 json of Tokens;
    CreateToken: POST "/v1/tokens" as CreateToken, "Makes a token. Its secret is in the answer and nowhere else.",
        [OPERATOR], takes NewToken, 201 json of MadeToken;
    DeleteToken: DELETE "/v1/tokens/{name}" as RevokeToken,
        "Revokes a token: every replica refuses it within seconds.",
        [path("name", Kind::Text, "The token."), OPERATOR], 200 json of Changed;
}
