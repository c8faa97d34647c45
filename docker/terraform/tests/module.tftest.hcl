# Tests the module with the provider's real schema, but without AWS: `terraform test` in the folder above.

mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { id = "eu-west-1" }
  }
  mock_data "aws_partition" {
    defaults = { dns_suffix = "amazonaws.com" }
  }
  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/net/latchkey/0123456789abcdef" }
  }
  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/latchkey/0123456789abcdef" }
  }
  mock_resource "aws_vpc_endpoint_service" {
    defaults = {
      service_name                   = "com.amazonaws.vpce.eu-west-1.vpce-svc-0123456789abcdef0"
      private_dns_name_configuration = [{ name = "_token", state = "verified", type = "TXT", value = "vpce:token" }]
    }
  }
  mock_resource "aws_kms_custom_key_store" {
    defaults = { id = "cks-0123456789abcdef0" }
  }
}

variables {
  vpc_id           = "vpc-0123456789abcdef0"
  subnet_ids       = ["subnet-0123456789abcdef0", "subnet-0fedcba9876543210"]
  proxy_addresses  = ["10.0.1.10", "10.0.2.10"]
  private_dns_name = "xks.example.com"
  hosted_zone_id   = "Z0123456789EXAMPLE"
  prefix           = "/payroll"
  tags             = { team = "security" }
}

run "endpoint_service" {
  assert {
    condition     = aws_vpc_endpoint_service.xks[0].allowed_principals == toset(["cks.kms.eu-west-1.amazonaws.com"])
    error_message = "The endpoint service admits KMS, and no one else."
  }
  assert {
    condition     = aws_lb.xks.internal && length(aws_vpc_security_group_ingress_rule.public) == 0
    error_message = "The load balancer is internal, without rules for the internet."
  }
  assert {
    condition     = aws_route53_record.verification[0].name == "_token" && length(aws_route53_record.public) == 0
    error_message = "The record verifies the private name."
  }
  assert {
    condition     = aws_lb_listener.xks.port == 443 && aws_lb_listener.xks.protocol == "TCP"
    error_message = "TLS ends in Latchkey."
  }
  assert {
    condition = alltrue([
      for tags in [
        aws_lb.xks.tags, aws_lb_target_group.xks.tags, aws_lb_listener.xks.tags, aws_security_group.balancer.tags,
        aws_vpc_endpoint_service.xks[0].tags,
      ] : tags["team"] == "security"
    ])
    error_message = "Every resource has the tags."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.xks) == 0 && output.custom_key_store_id == null
    error_message = "There are no alarms and no key store unless they are asked for."
  }
}

run "public_endpoint_with_alarms" {
  variables {
    connectivity        = "PUBLIC_ENDPOINT"
    public_sources      = ["203.0.113.0/24"]
    custom_key_store_id = "cks-1234567890abcdef0"
    alarm_actions       = ["arn:aws:sns:eu-west-1:111122223333:alarms"]
  }
  assert {
    condition     = !aws_lb.xks.internal && length(aws_vpc_endpoint_service.xks) == 0
    error_message = "The load balancer faces the internet."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.public["203.0.113.0/24"].from_port == 443
    error_message = "Only the sources given reach it."
  }
  assert {
    condition     = aws_route53_record.public[0].name == "xks.example.com" && output.vpc_endpoint_service_name == null
    error_message = "The name is public."
  }
  assert {
    condition     = toset(keys(aws_cloudwatch_metric_alarm.xks)) == toset(["certificate", "credential", "errors", "latency"])
    error_message = "There are four alarms."
  }
  assert {
    condition = alltrue([
      for alarm in aws_cloudwatch_metric_alarm.xks :
      endswith(one(alarm.metric_query).expression, " WHERE CustomKeyStoreId = 'cks-1234567890abcdef0'")
    ])
    error_message = "The alarms watch the key store given."
  }
}

run "key_store" {
  variables {
    key_store        = { access_key_id = "AKIAEXAMPLEEXAMPLE12", secret_access_key = "example0example0example0example0example0example" }
    external_key_ids = ["payroll-2026"]
    alarm_actions    = []
  }
  assert {
    condition     = aws_kms_custom_key_store.xks[0].xks_proxy_uri_path == "/payroll/kms/xks/v1"
    error_message = "The path has the prefix."
  }
  assert {
    condition     = aws_kms_key.external["payroll-2026"].xks_key_id == "payroll-2026"
    error_message = "The key is in the key store."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.xks) == 4
    error_message = "The alarms watch the key store created here."
  }
}

run "alarms_without_a_key_store" {
  command = plan
  variables {
    alarm_actions = []
  }
  expect_failures = [aws_cloudwatch_metric_alarm.xks]
}

run "keys_without_a_key_store" {
  command = plan
  variables {
    external_key_ids = ["payroll-2026"]
  }
  expect_failures = [aws_kms_key.external]
}

run "one_subnet" {
  command = plan
  variables {
    subnet_ids   = ["subnet-0123456789abcdef0"]
    connectivity = "DIRECT"
  }
  expect_failures = [var.subnet_ids, var.connectivity]
}
