// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines for tests: Debian's kernel with a handful of programs, up in seconds.
//!
//! Device-mapper, iSCSI and the like are parts of the kernel, and a test must not touch those of the machine that it
//! runs on, which may not have them at all. A [`MicroVm`] has a kernel of its own: Debian's for virtual machines,
//! fetched with apt and unpacked, never installed. Its initial file system, made for the occasion, is all that it
//! has: a shell, the kernel modules, programs of this machine with the shared libraries that they need, and files.
//! No hardware support is needed, no network and no root.
//!
//! ```no_run
//! use micro_vm::Setup;
//!
//! // a volume group `pve` with a thin pool `data`, as the installer of Proxmox VE makes it
//! let mut vm = Setup::new().thin_pool().boot()?;
//! vm.check(&["lvcreate", "-V1G", "-n", "vm-100-disk-0", "--thinpool", "pve/data"])?;
//! assert!(vm.check(&["lvs", "--noheadings", "-o", "lv_name", "pve"])?.contains("vm-100-disk-0"));
//!
//! // any program of this machine can come along
//! let mut vm = Setup::new().thin_pool().program("/usr/bin/qemu-img").boot()?;
//! println!("{}", vm.check(&["/usr/bin/qemu-img", "--version"])?);
//! # Ok::<(), micro_vm::Error>(())
//! ```
//!
//! Servers and clients that this machine shall not have come as Debian packages, unpacked into the machine alone:
//!
//! ```no_run
//! use micro_vm::{Packages, Setup};
//!
//! let packages = Packages::fetch("nbd", &["nbd-server", "nbd-client"])?;
//! let mut vm = Setup::new().packages(&packages).modules(&["nbd"]).boot()?;
//! vm.check(&["nbd-server", "--version"])?;
//! # Ok::<(), micro_vm::Error>(())
//! ```
//!
//! Test functions run inside as well, as part of the test program that they are written in:
//!
//! ```no_run
//! #[test]
//! fn a_pool_that_can_be_written() -> Result<(), micro_vm::Error> {
//!     micro_vm::Setup::new().thin_pool().this_program().boot()?.test("inside::a_pool_that_can_be_written")
//! }
//!
//! mod inside {
//!     #[test]
//!     #[ignore = "runs in a micro-VM"]
//!     fn a_pool_that_can_be_written() {
//!         assert!(micro_vm::is_inside());
//!         // whatever happens here, happens there
//!     }
//! }
//! ```
//!
//! Kernels, and whatever else is expensive to make, are kept below the target directory ([`cache`]).

mod archive;
mod console;
mod error;
mod kernel;
mod machine;
mod package;
mod running;
mod setup;
mod thin_pool;
mod tool;

pub use console::Console;
pub use error::Error;
pub use kernel::Kernel;
pub use machine::Machine;
pub use package::Packages;
pub use running::{MicroVm, Outcome, is_inside};
pub use setup::{PROGRAMS, Setup};
pub use tool::{cache, missing, run, run_in};
