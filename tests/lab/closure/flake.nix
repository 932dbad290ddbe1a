# The configuration of the laboratory's hosts, one for each file in hosts/. It has no inputs: what a host is built from
# are store paths that the installer's own store has, named in parts.json. `appendContext` makes a reference of a name,
# also in pure evaluation, and has Nix fetch the path into the store that it builds in.
{
  description = "Hosts of landfall's laboratory";

  outputs =
    { self }:
    let
      named = builtins.fromJSON (builtins.readFile ./parts.json);
      inputs =
        builtins.mapAttrs (_: path: builtins.appendContext path { ${path}.path = true; }) (
          removeAttrs named [ "version" ]
        )
        // {
          inherit (named) version;
        };
      configuration = file: {
        config.system.build.toplevel = import ./lab/system.nix {
          inherit inputs;
          params = builtins.fromJSON (builtins.readFile (./hosts + "/${file}")) // {
            revision = self.rev or "dirty";
          };
        };
      };
      files = builtins.filter (file: builtins.match ".*\\.json" file != null) (
        builtins.attrNames (builtins.readDir ./hosts)
      );
    in
    {
      nixosConfigurations = builtins.listToAttrs (
        map (file: {
          name = builtins.head (builtins.match "(.*)\\.json" file);
          value = configuration file;
        }) files
      );
    };
}
