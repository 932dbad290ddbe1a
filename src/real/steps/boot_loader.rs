//! The step that proves the boot loader and has the firmware start it.

use crate::real::boot::files::{clear_the_way, ensure_fallback, observe_boot, run_installer};
use crate::real::boot::{firmware, kernel_settings};
use crate::real::fs::target_root::{self, Root};
use crate::real::mount::attached;
use crate::real::process::command::Program;
use crate::real::volume::free_space;
use crate::real::{RUN_DIR, Real};
use crate::world::Perform;
use camino::Utf8Path;
use landfall_states::actions::install_boot_loader::{BootFacts, BootOrder, InstallBootLoader, Nvram};
use landfall_states::fault::Fault;
use landfall_states::plan::{Machine, Plan, Role};

impl Real {
    fn machine(&self) -> Machine {
        self.plan
            .as_ref()
            .map_or(Machine::native(), |plan| plan.layout.machine)
    }
}

impl Perform<InstallBootLoader> for Real {
    async fn observe(&mut self, step: &InstallBootLoader) -> Result<BootFacts, Fault> {
        self.attach(attached::Attach::Target).await?;
        let root = &Root::target();
        // Clean pages only can be forgotten, and FAT is flushed by nobody else.
        target_root::flush_boot(root)?;
        let nvram = self.firmware_entry(&root.esp())?;
        let variables = firmware::loader_variables(Utf8Path::new(firmware::EFIVARS))?;
        observe_boot(root, &step.system, self.machine(), nvram, &variables)
    }

    async fn perform(&mut self, _step: &InstallBootLoader, order: BootOrder) -> Result<(), Fault> {
        let done = async {
            self.attach(attached::Attach::Target).await?;
            let root = &Root::target();
            for flaw in &order.flaws {
                self.reporter.notice(format!("on the ESP: {flaw}"));
            }
            let context = self.context();
            clear_the_way(&context, root, &order)?;
            // nixos-enter activates the system before it runs anything.
            self.clear_target(root)?;
            kernel_settings::keep(Utf8Path::new(RUN_DIR))?;
            let ran = run_installer(&context, root, &order.system).await;
            kernel_settings::put_back(Utf8Path::new(RUN_DIR), &self.reporter)?;
            self.clear_target(root)?;
            ran?;
            ensure_fallback(&context, root, self.machine())?;
            self.register_entry().await?;
            target_root::sync_filesystem(root)?;
            target_root::flush_boot(root)
        }
        .await;
        free_space::explained(&Root::target(), done)
    }
}

impl Real {
    /// What the firmware says of the held disk's ESP.
    ///
    /// # Errors
    /// The firmware's variables cannot be read.
    pub fn firmware_entry(&self, esp: &Root) -> Result<Nvram, Fault> {
        let planned = self.plan.as_ref().and_then(|plan| plan.partition(Role::Esp));
        firmware::wanted_entry(
            self.config.can_touch_efi_variables,
            Utf8Path::new(firmware::EFIVARS),
            esp,
            planned.map(|esp| &esp.partuuid),
        )
    }

    /// Removes the entries of former installs of this host on this disk. Before an entry is made, so that a kill between the two leaves
    /// the step undone.
    async fn remove_former_entries(&self, plan: &Plan) -> Result<(), Fault> {
        for number in firmware::former_entries(Utf8Path::new(firmware::EFIVARS), plan)? {
            let number = format!("{number:04X}");
            let args = ["--bootnum", &number, "--delete-bootnum"];
            let ended = self.context().run(Program::new("efibootmgr").args(args)).await?;
            if ended.success() {
                self.reporter.step(format!(
                    "the firmware boot entry {number} of an earlier install is removed"
                ));
            } else {
                self.reporter.notice(format!(
                    "the firmware boot entry {number} of an earlier install could not be removed ({}); to remove it: efibootmgr -b {number} -B",
                    ended.how()
                ));
            }
        }
        Ok(())
    }

    /// Makes a firmware entry where one is wanted, there is none, and one can be made. Firmware that refuses starts the
    /// removable path.
    ///
    /// # Errors
    /// `efibootmgr` cannot be started, or the firmware's variables cannot be read.
    pub async fn register_entry(&self) -> Result<(), Fault> {
        let esp = Root::target().esp();
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        if self.config.can_touch_efi_variables {
            self.remove_former_entries(plan).await?;
        }
        match self.firmware_entry(&esp)? {
            Nvram::Ours | Nvram::NotWanted => return Ok(()),
            Nvram::Unwritable(why) => {
                self.reporter.notice(format!(
                    "there is no firmware boot entry: {why}; the firmware starts the loader at the removable path"
                ));
                return Ok(());
            }
            Nvram::Missing => {}
        }
        if let Some(partition) = plan.partition(Role::Esp)
            && let Some(order) =
                firmware::order_with_ours(Utf8Path::new(firmware::EFIVARS), &esp, &partition.partuuid)?
        {
            let order: Vec<String> = order.iter().map(|number| format!("{number:04X}")).collect();
            let args = ["--bootorder", &order.join(",")];
            let ended = self.context().run(Program::new("efibootmgr").args(args)).await?;
            if ended.success() {
                return Ok(());
            }
            self.reporter.notice(format!(
                "the firmware's boot order could not be written ({}); landfall makes another entry",
                ended.how()
            ));
        }
        let machine = plan.layout.machine;
        let loader = format!("EFI/systemd/{}", machine.systemd_boot());
        let Some((disk, number)) = firmware::esp_device(&esp)? else {
            return Ok(());
        };
        if !target_root::is_there(&esp, &loader)? {
            return Ok(());
        }
        let loader = format!("\\{}", loader.replace('/', "\\"));
        let number = number.to_string();
        let args = [
            "--create",
            "--disk",
            &disk,
            "--part",
            &number,
            "--label",
            "Linux Boot Manager",
            "--loader",
            &loader,
        ];
        let ended = self.context().run(Program::new("efibootmgr").args(args)).await?;
        if !ended.success() {
            self.reporter.notice(format!(
                "the firmware boot entry could not be made ({}); the firmware starts the loader at the removable path",
                ended.how()
            ));
        }
        Ok(())
    }
}
