terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source = "hashicorp/aws"
      # The oldest version that was tried. Much older ones cannot create external key stores.
      version = ">= 5.100"
    }
  }
}
