//! Which system calls a program may make: two BPF programs, made once.
//!
//! Everything is allowed but what is listed here: new kinds of sockets, ways into other processes,
//! namespaces and mounts, and what only the machine's administrator does. What is refused fails
//! with EPERM, as it would for a user who may not.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// Refused whatever the arguments are.
const NEVER: &[i64] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // A second way to make most system calls, which no filter sees.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Other views of the file system.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_setns,
    // The kernel's keys, programs and insides.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    libc::SYS_syslog,
    // The machine itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
];

#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[i64] = &[libc::SYS_iopl, libc::SYS_ioperm];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[i64] = &[];

/// Namespaces, in which a user is root and may make mounts and networks of his own.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Numbers of the x32 ABI, by which most calls of x86-64 have a second name.
const X32: i64 = 0x4000_0000;

/// The filters of programs that may use the network, and unix sockets, or may not.
///
/// # Errors
/// On a processor for which none can be made.
pub(super) fn filters(network: bool, unix: bool) -> Result<Vec<BpfProgram>, BackendError> {
    let refused = filter(refusals(network, unix)?, libc::EPERM)?;
    // Its flags are in memory, where no filter looks. Libraries that are told that there is no
    // such call use clone, whose flags are seen.
    let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok(vec![refused, filter(unknown, libc::ENOSYS)?])
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn filter(mut rules: Rules, errno: i32) -> Result<BpfProgram, BackendError> {
    if cfg!(target_arch = "x86_64") {
        let doubled = rules.clone().into_iter();
        rules.extend(doubled.map(|(number, chain)| (number | X32, chain)));
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = SeccompAction::Errno(errno.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
}

fn refusals(network: bool, unix: bool) -> Result<Rules, BackendError> {
    let mut rules: Rules = NEVER
        .iter()
        .chain(NEVER_HERE)
        .map(|number| (*number, Vec::new()))
        .collect();
    let families = families(network, unix);
    rules.insert(libc::SYS_socket, vec![no_other_family(&families)?]);
    // A pair is a pipe with two directions: it leads to nobody.
    rules.insert(
        libc::SYS_socketpair,
        vec![no_other_family(&[libc::AF_UNIX])?],
    );
    let namespaces = NAMESPACES.map(|flag| {
        let flag = u64::from(flag.cast_unsigned());
        when(0, SeccompCmpOp::MaskedEq(flag), flag)
    });
    let namespaces = namespaces.into_iter().collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_clone, namespaces.clone());
    rules.insert(libc::SYS_unshare, namespaces);
    // Typing into the terminal of whoever started the worker.
    let typing = [libc::TIOCSTI, libc::TIOCLINUX];
    let typing = typing.map(|request| when(1, SeccompCmpOp::Eq, request & 0xffff_ffff));
    let typing = typing.into_iter().collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_ioctl, typing);
    Ok(rules)
}

/// The kinds of sockets that a program may have.
fn families(network: bool, unix: bool) -> Vec<i32> {
    let mut families = Vec::new();
    if network {
        // Netlink tells the addresses of this machine, for which resolvers ask.
        families.extend([libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK]);
    }
    if unix {
        families.push(libc::AF_UNIX);
    }
    families
}

/// Fits every socket that is of none of these families.
fn no_other_family(families: &[i32]) -> Result<SeccompRule, BackendError> {
    // Without a condition there is no rule; no socket is of family -1.
    let none = [-1];
    let families = if families.is_empty() { &none } else { families };
    let conditions = families.iter().map(|family| {
        let family = u64::from(family.cast_unsigned());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
    });
    SeccompRule::new(conditions.collect::<Result<Vec<_>, _>>()?)
}

fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    let length = SeccompCmpArgLen::Dword;
    SeccompRule::new(vec![SeccompCondition::new(
        argument, length, operator, value,
    )?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_can_be_made_for_every_policy() {
        for (network, unix) in [(false, false), (false, true), (true, false), (true, true)] {
            let filters = filters(network, unix).expect("a filter for this processor");
            assert_eq!(filters.len(), 2);
        }
    }

    #[test]
    fn sockets_are_those_of_the_policy_and_no_others() {
        assert!(families(false, false).is_empty());
        assert_eq!(families(false, true), [libc::AF_UNIX]);
        assert!(families(true, false).contains(&libc::AF_INET6));
        assert!(!families(true, true).contains(&libc::AF_PACKET));
        assert!(!families(true, true).contains(&libc::AF_VSOCK));
    }
}
