# KMS reaches the proxies over the internet, and alarms for an existing key store notify an SNS topic. Configure
# listener.clientCertificate in latchkey.yaml, so that only KMS can complete the TLS handshake.

provider "aws" {
  region = "eu-west-1"
}

resource "aws_sns_topic" "alarms" {
  name = "payroll-keys-alarms"
}

module "latchkey" {
  source = "../.."

  name             = "payroll-keys"
  connectivity     = "PUBLIC_ENDPOINT"
  vpc_id           = "vpc-0123456789abcdef0"
  subnet_ids       = ["subnet-0123456789abcdef0", "subnet-0fedcba9876543210"]
  proxy_addresses  = ["10.0.1.10", "10.0.2.10"]
  private_dns_name = "xks.example.com"
  hosted_zone_id   = "Z0123456789EXAMPLE"
  prefix           = "/payroll"

  custom_key_store_id = "cks-1234567890abcdef0"
  alarm_actions       = [aws_sns_topic.alarms.arn]

  tags = { team = "security" }
}
