// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots a machine with a volume group `pve` and a thin pool `data`, and runs each argument as a line of shell:
//! `cargo run -p micro-vm --example thin_pool -- 'lvcreate -V1G -n a --thinpool pve/data' lvs`.

use micro_vm::{Error, Setup};

fn main() -> Result<(), Error> {
    let mut vm = Setup::new().thin_pool().boot()?;
    for line in std::env::args().skip(1) {
        let outcome = vm.shell(&line)?;
        if outcome.exit != 0 {
            eprintln!("exit code {}", outcome.exit);
        }
    }
    Ok(())
}
