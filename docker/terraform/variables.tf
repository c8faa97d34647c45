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

variable "vpc_id" {
  description = "VPC from which the proxies can be reached."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets for the load balancer, in at least two Availability Zones, as KMS requires."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "KMS asks for a load balancer in two subnets of two Availability Zones at least."
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
  description = "listener.port of latchkey.yaml."
  type        = number
  default     = 8443
}

variable "ping_port" {
  description = "listener.ping.port of latchkey.yaml, for the health check."
  type        = number
  default     = 8080
}

variable "private_dns_name" {
  description = "Name that KMS calls, such as xks.example.com. It is the certificate's common name, in your public domain."
  type        = string
}

variable "hosted_zone_id" {
  description = "Public Route 53 hosted zone of that domain, for the record that proves ownership."
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
