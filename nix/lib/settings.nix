# What landfall reads, from the module's options. The one place that names the keys of the configuration file
# (docs/reference/configuration.md, src/config.rs); nix/tests/golden holds what comes out, and the Rust tests read that.
#
# Secrets are not in it; they come as credentials.
{ lib }:
{
  # The options below `autoInstaller`.
  cfg,
  # Where the installer has the known hosts, when there are any.
  knownHostsFile,
}:
let
  none = text: if text == "" then null else text;
  # What a medium that is plugged in may say beyond keys.
  onMedium = lib.filterAttrs (_: is: is) {
    consent = cfg.unattended.consentCredential == "medium";
    luks_passphrase = cfg.luks.passphraseCredential == "medium";
    record_key = cfg.recordKeyCredential == "medium";
  };
  # The clone is made where nothing is, and the replaced module removed what was there.
  isBesideClone = dir: !(lib.hasPrefix "${cfg.repoClonePath}/" "/mnt${dir}");
  # Options that may name a store path keep their context: the installer's closure then has what they name.
  storeText = value: if value == null then null else "${value}";
in
{
  host = cfg.targetHost;
  labels = {
    inherit (cfg.labels) efi root;
    luks = none cfg.labels.luks;
    swap = none cfg.labels.swap;
  };
  esp_size = lib.toUpper cfg.espSize;
  luks = {
    inherit (cfg.luks) enable;
    mapper_name = cfg.luks.mapperName;
    iteration_time_ms = cfg.luks.iterationTimeMs;
  }
  // lib.optionalAttrs (cfg.luks.memoryMin != null) {
    memory_min = lib.toUpper cfg.luks.memoryMin;
  };
  swap = {
    inherit (cfg.swap) enable size;
  };
  repository = {
    remote = cfg.repoRemote;
    bundle = storeText cfg.repoBundle;
    branch = cfg.repoBranch;
    revision = cfg.repoRev;
    clone_path = cfg.repoClonePath;
  };
  system =
    if !cfg.prebuilt then
      "Flake"
    else if cfg.rootImage == null then
      { Prebuilt = storeText cfg.targetSystem; }
    else
      {
        Image = {
          # Without its context: the image holds the closure, which the installer would carry a second time.
          system = builtins.unsafeDiscardStringContext "${cfg.targetSystem}";
          file = cfg.rootImageFile;
          # `null`: service.nix puts it in when the image is built.
          digest = cfg.rootImageDigest;
        };
      };
  extra_mount_dirs = lib.filter isBesideClone cfg.extraMountDirs;
  extra_post_mount_commands = cfg.extraPostMountCommands;
  on_success =
    {
      poweroff = "PowerOff";
      reboot = "Reboot";
      stay = "Stay";
    }
    .${cfg.onSuccess};
  can_touch_efi_variables = cfg.canTouchEfiVariables;
  target_user = cfg.targetUser;
  keys = {
    deploy_key = cfg.deployKey.enable;
    age_identity = cfg.ageIdentity.enable;
    age_identity_path = cfg.ageIdentity.path;
  };
  unattended = {
    inherit (cfg.unattended) enable disk;
  };
  inherit (cfg) reinstall;
  nix = {
    inherit (cfg) substituters;
    trusted_public_keys = cfg.trustedPublicKeys;
    stalled_download_timeout_s = cfg.download.stalledTimeoutSeconds;
    connect_timeout_s = cfg.download.connectTimeoutSeconds;
    deadline_s = cfg.download.deadlineSeconds;
  };
  retry = {
    phase_attempts_max = cfg.retry.phaseAttemptsMax;
    total_attempts_max = cfg.retry.totalAttemptsMax;
    retries_per_run_max = cfg.retry.retriesPerRunMax;
    backoff_first_ms = cfg.retry.backoffFirstMs;
    backoff_max_ms = cfg.retry.backoffMaxMs;
  };
  ssh = {
    key = if cfg.ssh.key == null then null else toString cfg.ssh.key;
    known_hosts = knownHostsFile;
  }
  // lib.optionalAttrs cfg.ssh.generateKey {
    generate_key = true;
    generate_wait_s = cfg.ssh.generateWaitSeconds;
  };
}
// lib.optionalAttrs (onMedium != { }) { key_medium = onMedium; }
