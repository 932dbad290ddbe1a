{
	# odd   
	inputs.nixpkgs.url="path:./inputs/nixpkgs";inputs.landfall.url = "path:./inputs/landfall";

	outputs={self,nixpkgs,landfall}:{ # nixosConfigurations.old = { };
		nixosConfigurations={/* the first */web=nixpkgs.lib.nixosSystem{modules=[ ./hosts/web ];};  # end

		};
		# nothing behind
	};
}
