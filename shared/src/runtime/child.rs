//! Child processes that never outlive this one, not even when it is killed with SIGKILL.
//!
//! Linux sends a child its "parent death signal" when the *thread* that made it ends, so every
//! such child is made by one thread that lives as long as the process. Elsewhere the operating
//! system offers nothing of the kind: there a child is stopped on drop, but survives a SIGKILL
//! of its parent.

use std::io;
use std::process::{Child, Command};
use std::sync::{LazyLock, mpsc};

/// What the keeper thread is asked to do: start a command, and where to answer.
type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// The thread that is the parent of every bound child. It never ends.
static KEEPER: LazyLock<Option<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    let keep = move || {
        for (mut command, answer) in inbox {
            let _ = answer.send(start(&mut command));
        }
    };
    let thread = std::thread::Builder::new().name("child-keeper".into());
    thread.spawn(keep).ok().map(|_| orders)
});

/// Starts `command` such that it is killed (SIGKILL) when this process ends, however it ends.
///
/// # Errors
/// When the program cannot be started, or this process may start no more threads.
pub fn spawn_bound(command: Command) -> io::Result<Child> {
    let gone = || io::Error::other("the thread that starts child processes is gone");
    let (answer, inbox) = mpsc::channel();
    let keeper = KEEPER.as_ref().ok_or_else(gone)?;
    keeper.send((command, answer)).map_err(|_| gone())?;
    inbox.recv().map_err(|_| gone())?
}

#[cfg(target_os = "linux")]
fn start(command: &mut Command) -> io::Result<Child> {
    die_with(command, std::process::id());
    command.spawn()
}

#[cfg(not(target_os = "linux"))]
fn start(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}

/// Asks the kernel, in the child and before its program starts, for the signal at parent's death.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "pre_exec has no safe form; see SAFETY")]
fn die_with(command: &mut Command, parent: u32) {
    use std::os::unix::process::CommandExt;

    let bind = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // The parent may have died before the line above: then nobody sends the signal.
        let now = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero);
        match now.map(|pid| pid.get().unsigned_abs()) {
            Some(pid) if pid == parent => Ok(()),
            _ => Err(io::Error::from_raw_os_error(3)), // ESRCH: allocates nothing after fork
        }
    };
    // SAFETY: the closure runs between fork and exec. It makes two system calls and neither
    // allocates, locks nor touches memory that another thread of the parent could hold.
    unsafe {
        command.pre_exec(bind);
    }
}
