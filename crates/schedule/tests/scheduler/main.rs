//! The scheduler against a model too simple to be wrong, and against promises that hold whatever happens.

#[cfg(test)]
mod ageing;
#[cfg(test)]
mod backlog;
#[cfg(test)]
mod entries;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod late;
#[cfg(test)]
mod leasing;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod model;
#[cfg(test)]
mod month;
#[cfg(test)]
mod pools;
#[cfg(test)]
mod renewal;
#[cfg(test)]
mod simulation;
