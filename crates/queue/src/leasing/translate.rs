//! Between what replicas say to each other of slices and what is decided about them.

use mailtier_api::peer::{Slice as WireSlice, SliceLease, SliceReport, SliceWish as WireWish};
use mailtier_schedule::{GroupLimits, Lease, Rate, Report, Slice, SliceWish};

pub(super) fn report(report: SliceReport) -> Report {
    let wish = |wish: WireWish| SliceWish {
        group: wish.group,
        limits: GroupLimits { concurrency: wish.concurrency, rate: wish.interval_us.map(Rate::every) },
        holds: wish.holds,
        in_use: wish.in_use,
        wanted: wish.wanted,
        unused: wish.unused,
    };
    let SliceReport { replica, view, term, sequence, is_whole, wishes } = report;
    Report { replica, view, term, sequence, is_whole, wishes: wishes.into_iter().map(wish).collect() }
}

pub(super) fn to_wire_report(report: Report) -> SliceReport {
    let wish = |wish: SliceWish| WireWish {
        group: wish.group,
        concurrency: wish.limits.concurrency,
        interval_us: wish.limits.rate.map(Rate::interval_us),
        holds: wish.holds,
        in_use: wish.in_use,
        wanted: wish.wanted,
        unused: wish.unused,
    };
    let Report { replica, view, term, sequence, is_whole, wishes } = report;
    SliceReport { replica, view, term, sequence, is_whole, wishes: wishes.into_iter().map(wish).collect() }
}

pub(super) fn lease(lease: SliceLease) -> Lease {
    let slice = |slice: WireSlice| Slice { concurrency: slice.concurrency, attempts: slice.attempts };
    Lease { view: lease.view, term: lease.term, slices: lease.slices.into_iter().map(slice).collect() }
}

pub(super) fn to_wire(lease: Lease) -> SliceLease {
    let slice = |slice: Slice| WireSlice { concurrency: slice.concurrency, attempts: slice.attempts };
    SliceLease { view: lease.view, term: lease.term, slices: lease.slices.into_iter().map(slice).collect() }
}
