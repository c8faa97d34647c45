output "vpc_endpoint_service_name" {
  description = "For latchkey register --vpc-endpoint-service."
  value       = aws_vpc_endpoint_service.xks.service_name
}

output "uri_endpoint" {
  description = "XksProxyUriEndpoint."
  value       = "https://${var.private_dns_name}"
}

output "custom_key_store_id" {
  description = "When the key store was made here."
  value       = one(aws_kms_custom_key_store.xks[*].id)
}

output "kms_key_arns" {
  description = "By external key."
  value       = { for id, key in aws_kms_key.external : id => key.arn }
}
