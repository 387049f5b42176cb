//! What a worker can get wrong.

use clap::ValueEnum;

/// One mistake. The tests say which case has to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Acknowledges a task before it stores the result.
    AcksFirst,
    /// Sends an acknowledgement and does not wait for the broker to hear it.
    AcksBlindly,
    /// Stores its result over one that is there.
    Overwrites,
    /// Does not look for an earlier result when a task is delivered again.
    ForgetsResults,
    /// Starts each tool twice.
    RunsTwice,
    /// Believes that a lease lasts for ever.
    RenewsNothing,
    /// Does not hear of cancels while a task runs.
    IgnoresCancels,
    /// Lets a task run beyond its deadline.
    IgnoresDeadlines,
    /// Claims a `once` task when its tool has ended.
    ClaimsLate,
    /// Starts a `once` task whose claim was not stored.
    StartsUnclaimed,
    /// Does not look at the record of a task that is delivered again.
    IgnoresRecords,
    /// Tries a task again however often it failed.
    NeverGivesUp,
    /// Takes as many tasks as there are.
    Greedy,
    /// Answers in JSON whatever it was asked in.
    AlwaysJson,
    /// Has a body that it cannot read delivered again.
    RetriesNonsense,
    /// Ends at SIGTERM in the middle of what it does.
    DropsOnTerm,
    /// Throws away what a failed tool produced.
    DropsFailedResults,
    /// Leaves the bodies of finished tasks in the object store.
    LeavesBodies,
}
