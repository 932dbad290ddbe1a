let
  inherit (builtins)
    attrNames
    elem
    foldl'
    isAttrs
    isFunction
    listToAttrs
    map
    ;
  merge =
    left: right:
    if isAttrs left && isAttrs right then
      left // builtins.mapAttrs (name: value: if left ? ${name} then merge left.${name} value else value) right
    else
      right;
  lib = {
    inherit (builtins) attrValues filter mapAttrs;
    mkDefault = value: value;
    genAttrs =
      names: make:
      listToAttrs (
        map (name: {
          inherit name;
          value = make name;
        }) names
      );
    filterAttrs = keep: set: removeAttrs set (builtins.filter (name: !(keep name set.${name})) (attrNames set));
    nameValuePair = name: value: { inherit name value; };
    trivial.release = "26.05";
    nixosSystem =
      {
        modules,
        system ? null,
        specialArgs ? { },
      }:
      let
        load =
          module:
          let
            read = if isAttrs module || isFunction module then module else import module;
            value =
              if isFunction read then
                read (
                  {
                    inherit lib;
                    config = { };
                    pkgs = { };
                  }
                  // specialArgs
                )
              else
                read;
          in
          foldl' merge (removeAttrs value [ "imports" ]) (map load (value.imports or [ ]));
        merged = foldl' merge { } (map load modules);
        declared = merged.declared or { };
        unknown = builtins.filter (name: merged ? ${name} && !(declared.${name} or false)) [
          "age"
          "autoInstaller"
        ];
      in
      {
        config =
          if unknown == [ ] then
            merged
          else
            throw "The option `${builtins.head unknown}' does not exist";
      };
  };
in
lib
