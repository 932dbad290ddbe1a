# Stands for agenix.
{
  outputs =
    { self }:
    {
      nixosModules.default.declared.age = true;
    };
}
