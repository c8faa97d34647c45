# Alarms on the metrics that KMS publishes. Metrics Insights selects them by key store, regardless of their other
# dimensions.

locals {
  key_store_id  = var.custom_key_store_id != null ? var.custom_key_store_id : one(aws_kms_custom_key_store.xks[*].id)
  alarms_wanted = var.alarm_actions != null
  alarms = {
    # KMS counts a timeout as 250 ms.
    latency = {
      description = "KMS waits more than 200 ms for Latchkey; it gives up after 250 ms."
      query       = "SELECT MAX(XksProxyLatency) FROM \"AWS/KMS\""
      operator    = "GreaterThanThreshold"
      threshold   = 200
      period      = 300
      missing     = "notBreaching"
    }
    errors = {
      description = "KMS counts more than five failed requests to Latchkey in a minute. A kill also causes failed requests."
      query       = "SELECT SUM(XksProxyErrors) FROM \"AWS/KMS\""
      operator    = "GreaterThanThreshold"
      threshold   = 5
      period      = 60
      missing     = "notBreaching"
    }
    certificate = {
      description = "The TLS certificate of the endpoint expires in less than ten days."
      query       = "SELECT MIN(XksProxyCertificateDaysToExpire) FROM \"AWS/KMS\""
      operator    = "LessThanThreshold"
      threshold   = 10
      period      = 3600
      missing     = "ignore"
    }
    credential = {
      description = "KMS has used the same credential for a year. Rotate it with latchkey rotate-credentials."
      query       = "SELECT MAX(XksProxyCredentialAge) FROM \"AWS/KMS\""
      operator    = "GreaterThanThreshold"
      threshold   = 365
      period      = 3600
      missing     = "ignore"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "xks" {
  for_each = local.alarms_wanted ? local.alarms : {}

  alarm_name          = "${var.name}-xks-${each.key}"
  alarm_description   = each.value.description
  comparison_operator = each.value.operator
  threshold           = each.value.threshold
  evaluation_periods  = 1
  treat_missing_data  = each.value.missing
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions

  metric_query {
    id          = "value"
    expression  = "${each.value.query} WHERE CustomKeyStoreId = '${local.key_store_id}'"
    period      = each.value.period
    return_data = true
  }

  lifecycle {
    precondition {
      condition     = local.key_store_id != null
      error_message = "alarm_actions requires custom_key_store_id or key_store."
    }
  }

  tags = var.tags
}
