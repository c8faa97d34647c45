output "vpc_endpoint_service_name" {
  description = "Value for latchkey register --vpc-endpoint-service; null for a public endpoint."
  value       = one(aws_vpc_endpoint_service.xks[*].service_name)
}

output "uri_endpoint" {
  description = "XksProxyUriEndpoint of the key store."
  value       = "https://${var.private_dns_name}"
}

output "custom_key_store_id" {
  description = "Id of the custom key store, if it was created here."
  value       = one(aws_kms_custom_key_store.xks[*].id)
}

output "kms_key_arns" {
  description = "ARNs of the KMS keys, by external key."
  value       = { for id, key in aws_kms_key.external : id => key.arn }
}
