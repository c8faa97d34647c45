terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source = "hashicorp/aws"
      # aws_kms_custom_key_store has to know custom_key_store_type: a release of the 6 line or later.
      version = ">= 6.0"
    }
  }
}
