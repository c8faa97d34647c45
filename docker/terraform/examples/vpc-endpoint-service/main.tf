# KMS reaches three proxies in this VPC through an endpoint service. `latchkey register` creates the key store afterwards.

provider "aws" {
  region = "eu-west-1"
}

module "latchkey" {
  source = "../.."

  name             = "payroll-keys"
  vpc_id           = "vpc-0123456789abcdef0"
  subnet_ids       = ["subnet-0123456789abcdef0", "subnet-0fedcba9876543210"]
  proxy_addresses  = ["10.0.1.10", "10.0.2.10", "10.0.3.10"]
  private_dns_name = "xks.example.com"
  hosted_zone_id   = "Z0123456789EXAMPLE"
  prefix           = "/payroll"

  tags = { team = "security" }
}

output "register" {
  description = "Command that creates and connects the key store."
  value       = "latchkey register --key-store payroll --endpoint ${module.latchkey.uri_endpoint} --vpc-endpoint-service ${module.latchkey.vpc_endpoint_service_name} --region eu-west-1"
}
