variable "name" {
  description = "Name of the Auto Scaling group and the launch template, and the beginning of the roles' names: another one in each region of an account, as IAM's names have no region"
  type        = string
  default     = "app"
}

variable "source_name" {
  description = "The source: the value of the tag Name of its snapshots"
  type        = string
  default     = "codepen-app"
}

variable "role" {
  description = "Role of the instances, by which a deployment finds them"
  type        = string
  default     = "app"
}

variable "image_id" {
  description = "Machine image that has snapsource and its unit: see ../image"
  type        = string
}

variable "instance_type" {
  description = "Instance type"
  type        = string
  default     = "m5.large"
}

variable "subnet_ids" {
  description = "Subnets of the instances"
  type        = list(string)
}

variable "security_group_ids" {
  description = "Security groups of the instances; none: the default one of the VPC"
  type        = list(string)
  default     = []
}

variable "min_size" {
  description = "Least number of instances. 0 until there is a release: without one every launch fails"
  type        = number
  default     = 0
}

variable "max_size" {
  description = "Greatest number of instances"
  type        = number
  default     = 4
}

variable "warm_pool_size" {
  description = "Number of stopped instances that are kept ready; 0: no warm pool"
  type        = number
  default     = 0
}

variable "heartbeat_timeout" {
  description = "Seconds from the launch until the unit starts, and between two of its attempts: 30 to 7200"
  type        = number
  default     = 300
}
