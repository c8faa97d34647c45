variable "name" {
  description = "Prefix of the names of all created resources, and name of the custom key store."
  type        = string
  default     = "latchkey"
}

variable "tags" {
  description = "Tags of all created resources that can have tags."
  type        = map(string)
  default     = {}
}

variable "connectivity" {
  description = "How KMS reaches the proxies: VPC_ENDPOINT_SERVICE, or PUBLIC_ENDPOINT through the internet."
  type        = string
  default     = "VPC_ENDPOINT_SERVICE"

  validation {
    condition     = contains(["VPC_ENDPOINT_SERVICE", "PUBLIC_ENDPOINT"], var.connectivity)
    error_message = "connectivity must be VPC_ENDPOINT_SERVICE or PUBLIC_ENDPOINT."
  }
}

variable "public_sources" {
  description = "Networks that may reach a public endpoint. Require client certificates (mTLS) rather than rely on addresses."
  type        = set(string)
  default     = ["0.0.0.0/0"]
}

variable "vpc_id" {
  description = "VPC from which the proxies can be reached."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets for the load balancer, in at least two Availability Zones, as KMS requires: private ones, or public ones for a public endpoint."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "KMS requires a load balancer with subnets in at least two Availability Zones."
  }
}

variable "proxy_addresses" {
  description = "IPv4 addresses of the Latchkey instances: in the VPC, or behind Direct Connect or a VPN."
  type        = set(string)
}

variable "proxies_are_outside" {
  description = "Whether proxy_addresses are outside the VPC."
  type        = bool
  default     = false
}

variable "proxy_port" {
  description = "Value of listener.port in latchkey.yaml."
  type        = number
  default     = 8443
}

variable "ping_port" {
  description = "Value of listener.ping.port in latchkey.yaml, for the health check."
  type        = number
  default     = 8080
}

variable "private_dns_name" {
  description = "Name that KMS calls, such as xks.example.com, private or public. It must be in your public domain, and must be the certificate's common name."
  type        = string
}

variable "hosted_zone_id" {
  description = "Id of the public Route 53 hosted zone of that domain, for the record that proves ownership, or for the name of a public endpoint."
  type        = string
}

variable "prefix" {
  description = "Path prefix of the key store with a leading slash, or empty."
  type        = string
  default     = ""
}

variable "key_store" {
  description = "Create the custom key store too. Terraform's state then contains its secret, which `latchkey register` avoids."
  type = object({
    access_key_id     = string
    secret_access_key = string
  })
  default   = null
  sensitive = true
}

variable "external_key_ids" {
  description = "External keys for which to create KMS keys, once the custom key store created here is connected."
  type        = set(string)
  default     = []
}

variable "custom_key_store_id" {
  description = "Id of the key store that the alarms watch, if another tool created it, such as latchkey register."
  type        = string
  default     = null
}

variable "alarm_actions" {
  description = "ARNs to notify, such as an SNS topic. Null creates no alarms; an empty list creates alarms that notify no one."
  type        = list(string)
  default     = null
}
