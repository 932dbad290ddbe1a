# Stands for landfall: the names of the packages, and the target module as what declares `autoInstaller`.
{
  outputs =
    { self }:
    {
      nixosModules.target.declared.autoInstaller = true;
      lib.mkInstallerPackages =
        hosts:
        builtins.foldl' (
          set: name:
          set
          // {
            "${name}InstallerIso" = builtins.seq hosts.${name}.target (import (builtins.head hosts.${name}.modules));
            "${name}InstallerNetboot" = hosts.${name}.target;
          }
        ) { } (builtins.attrNames hosts);
    };
}
