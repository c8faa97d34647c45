# Creates everything that KMS needs to reach Latchkey: a Network Load Balancer that forwards TCP (TLS terminates in
# Latchkey, so mTLS works), and either a VPC endpoint service with a verified private DNS name, or a public name.

locals {
  is_public = var.connectivity == "PUBLIC_ENDPOINT"
}

data "aws_region" "current" {}

data "aws_partition" "current" {}

resource "aws_lb" "xks" {
  name                             = var.name
  internal                         = !local.is_public
  load_balancer_type               = "network"
  subnets                          = var.subnet_ids
  security_groups                  = [aws_security_group.balancer.id]
  enable_cross_zone_load_balancing = true
  # KMS sends its requests through the endpoint service, which bypasses these rules.
  enforce_security_group_inbound_rules_on_private_link_traffic = "off"

  tags = var.tags
}

resource "aws_lb_target_group" "xks" {
  name        = var.name
  port        = var.proxy_port
  protocol    = "TCP"
  target_type = "ip"
  vpc_id      = var.vpc_id
  # If you enable the PROXY protocol, enable listener.proxyProtocol in latchkey.yaml at the same time.
  proxy_protocol_v2 = false
  # Must be at least listener.drain.delay plus listener.drain.timeout.
  deregistration_delay = 60

  health_check {
    protocol            = "HTTP"
    port                = var.ping_port
    path                = "/ping"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }

  tags = var.tags
}

resource "aws_lb_target_group_attachment" "xks" {
  for_each = var.proxy_addresses

  target_group_arn  = aws_lb_target_group.xks.arn
  target_id         = each.value
  port              = var.proxy_port
  availability_zone = var.proxies_are_outside ? "all" : null
}

resource "aws_lb_listener" "xks" {
  load_balancer_arn = aws_lb.xks.arn
  # KMS connects only to port 443.
  port     = 443
  protocol = "TCP"
  # Must be shorter than listener.timeouts.keepAlive, so that no request is sent on a connection that Latchkey is closing.
  tcp_idle_timeout_seconds = 350

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.xks.arn
  }

  tags = var.tags
}

resource "aws_security_group" "balancer" {
  name_prefix = "${var.name}-"
  description = "Latchkey's load balancer"
  vpc_id      = var.vpc_id

  tags = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "public" {
  for_each = local.is_public ? var.public_sources : toset([])

  security_group_id = aws_security_group.balancer.id
  description       = "XKS requests from KMS"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443

  tags = var.tags
}

resource "aws_vpc_security_group_egress_rule" "xks" {
  for_each = var.proxy_addresses

  security_group_id = aws_security_group.balancer.id
  description       = "XKS requests"
  cidr_ipv4         = "${each.value}/32"
  ip_protocol       = "tcp"
  from_port         = var.proxy_port
  to_port           = var.proxy_port

  tags = var.tags
}

resource "aws_vpc_security_group_egress_rule" "ping" {
  for_each = var.proxy_addresses

  security_group_id = aws_security_group.balancer.id
  description       = "Health checks"
  cidr_ipv4         = "${each.value}/32"
  ip_protocol       = "tcp"
  from_port         = var.ping_port
  to_port           = var.ping_port

  tags = var.tags
}

resource "aws_vpc_endpoint_service" "xks" {
  count = local.is_public ? 0 : 1

  # KMS does not wait for its connection request to be accepted.
  acceptance_required        = false
  network_load_balancer_arns = [aws_lb.xks.arn]
  allowed_principals         = ["cks.kms.${data.aws_region.current.id}.${data.aws_partition.current.dns_suffix}"]
  private_dns_name           = var.private_dns_name
  supported_ip_address_types = ["ipv4"]

  tags = var.tags
}

resource "aws_route53_record" "verification" {
  count = local.is_public ? 0 : 1

  zone_id = var.hosted_zone_id
  name    = aws_vpc_endpoint_service.xks[0].private_dns_name_configuration[0].name
  type    = aws_vpc_endpoint_service.xks[0].private_dns_name_configuration[0].type
  ttl     = 300
  records = [aws_vpc_endpoint_service.xks[0].private_dns_name_configuration[0].value]
}

resource "aws_route53_record" "public" {
  count = local.is_public ? 1 : 0

  zone_id = var.hosted_zone_id
  name    = var.private_dns_name
  type    = "A"

  alias {
    name                   = aws_lb.xks.dns_name
    zone_id                = aws_lb.xks.zone_id
    evaluate_target_health = false
  }
}

resource "aws_vpc_endpoint_service_private_dns_verification" "xks" {
  count = local.is_public ? 0 : 1

  service_id            = aws_vpc_endpoint_service.xks[0].id
  wait_for_verification = true
  depends_on            = [aws_route53_record.verification]
}

# This does not connect the key store. Run `aws kms connect-custom-key-store`, or `latchkey register`, which continues
# from this state and also creates a key.
resource "aws_kms_custom_key_store" "xks" {
  count = nonsensitive(var.key_store != null) ? 1 : 0

  custom_key_store_name               = var.name
  custom_key_store_type               = "EXTERNAL_KEY_STORE"
  xks_proxy_connectivity              = var.connectivity
  xks_proxy_vpc_endpoint_service_name = one(aws_vpc_endpoint_service.xks[*].service_name)
  xks_proxy_uri_endpoint              = "https://${var.private_dns_name}"
  xks_proxy_uri_path                  = "${var.prefix}/kms/xks/v1"

  xks_proxy_authentication_credential {
    access_key_id         = var.key_store.access_key_id
    raw_secret_access_key = var.key_store.secret_access_key
  }

  depends_on = [aws_vpc_endpoint_service_private_dns_verification.xks, aws_route53_record.public]
}

# Requires a second apply, because KMS creates keys only in a connected key store.
resource "aws_kms_key" "external" {
  for_each = var.external_key_ids

  description             = "Latchkey external key ${each.value}"
  custom_key_store_id     = one(aws_kms_custom_key_store.xks[*].id)
  xks_key_id              = each.value
  deletion_window_in_days = 30

  lifecycle {
    precondition {
      condition     = length(aws_kms_custom_key_store.xks) == 1
      error_message = "external_key_ids requires key_store."
    }
  }

  tags = var.tags
}
