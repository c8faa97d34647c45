terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source = "hashicorp/aws"
      # aws_kms_custom_key_store must support custom_key_store_type, which requires version 6 or later.
      version = ">= 6.0"
    }
  }
}
