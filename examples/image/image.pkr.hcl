# A machine image with snapsource: packer init . && packer build -var package=snapsource_1.0.0_amd64.deb .

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.0"
    }
  }
}

variable "package" {
  description = "The package, for the architecture of the image"
  type        = string
}

variable "service" {
  description = "The service that reads the Source"
  type        = string
  default     = "app.service"
}

variable "base_image" {
  description = "Name of the image to begin with; the newest of this name"
  type        = string
  default     = "debian-12-amd64-*"
}

variable "base_owner" {
  description = "Account that publishes it: Debian"
  type        = string
  default     = "136693071363"
}

variable "instance_type" {
  description = "Instance type, of the architecture of the image"
  type        = string
  default     = "t3.small"
}

variable "region" {
  description = "Region"
  type        = string
  default     = "us-west-2"
}

source "amazon-ebs" "app" {
  region        = var.region
  instance_type = var.instance_type
  ssh_username  = "admin"
  # The image has the root volume only. A Source that was attached to the machine would be in it as a copy.
  ami_name = "app-{{timestamp}}"
  source_ami_filter {
    filters = {
      name                = var.base_image
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = [var.base_owner]
    most_recent = true
  }
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  # Instances of the image use the metadata service with tokens only.
  imds_support = "v2.0"
}

build {
  sources = ["source.amazon-ebs.app"]

  provisioner "file" {
    sources     = [var.package, "${path.root}/snapsource.yaml", "${path.root}/provision.sh"]
    destination = "/tmp/"
  }

  provisioner "shell" {
    inline = ["sudo sh /tmp/provision.sh /tmp/${basename(var.package)} /tmp/snapsource.yaml ${var.service}"]
  }
}
