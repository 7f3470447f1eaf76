# An Auto Scaling group whose instances bring up the newest release before they enter service:
# docs/auto-scaling.md. The volume comes with the instance once a release is published in the launch
# template: docs/launch-templates.md.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

resource "aws_iam_role" "instance" {
  name               = "${var.name}-instance"
  assume_role_policy = local.trust_ec2
}

resource "aws_iam_instance_profile" "instance" {
  name = "${var.name}-instance"
  role = aws_iam_role.instance.name
}

# For the instance that deploys. It is not in the group: it takes the first release, the later ones, and
# publishes them.
resource "aws_iam_role" "deploy" {
  name               = "${var.name}-deploy"
  assume_role_policy = local.trust_ec2
}

resource "aws_iam_instance_profile" "deploy" {
  name = "${var.name}-deploy"
  role = aws_iam_role.deploy.name
}

locals {
  trust_ec2 = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_launch_template" "app" {
  name                   = var.name
  image_id               = var.image_id
  instance_type          = var.instance_type
  vpc_security_group_ids = var.security_group_ids

  # A version made by Terraform has the mapping and the tags that the latest version had at the plan, so
  # it may become the default at once. Publish the release again after it: another may have been published
  # since the plan.
  update_default_version = true

  iam_instance_profile {
    name = aws_iam_instance_profile.instance.name
  }

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
    # snapsource runs on the instance itself. A container that asks the metadata service needs 2.
    http_put_response_hop_limit = 1
    # The instance's tags without a call to EC2.
    instance_metadata_tags = "enabled"
  }

  # The settings. The unit in the image starts after cloud-init has written them. ../user-data has this
  # file and another form.
  user_data = base64encode(<<-EOT
    #cloud-config
    write_files:
      - path: /etc/snapsource.yaml
        content: |
          lifecycle-hook: launch
          roles: [${var.role}]
          sources:
            - source: ${var.source_name}
    EOT
  )

  # "snapsource publish" makes versions with the source's volume: its mapping, its tags, and a description
  # that names the snapshot. Terraform compares with the latest version, and would remove them. Tags of
  # the instances are therefore those of the group.
  lifecycle {
    ignore_changes = [block_device_mappings, description, tag_specifications]
  }
}

resource "aws_autoscaling_group" "app" {
  name                = var.name
  min_size            = var.min_size
  max_size            = var.max_size
  vpc_zone_identifier = var.subnet_ids

  # The version that publish makes the default. With latest_version in its place every publication would
  # be a change that Terraform takes back.
  launch_template {
    id      = aws_launch_template.app.id
    version = "$Default"
  }

  # In the group itself, so that it is there before the first instance. An instance that can't have its
  # Source is replaced.
  initial_lifecycle_hook {
    name                 = "launch"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    heartbeat_timeout    = var.heartbeat_timeout
    default_result       = "ABANDON"
  }

  # Stopped: the unit runs when the instance is started for service, and replaces an older release.
  dynamic "warm_pool" {
    for_each = var.warm_pool_size > 0 ? [var.warm_pool_size] : []
    content {
      pool_state                  = "Stopped"
      min_size                    = warm_pool.value
      max_group_prepared_capacity = var.max_size
    }
  }

  tag {
    key                 = "Name"
    value               = var.name
    propagate_at_launch = true
  }

  # Without its permissions an instance waits until the hook times out.
  depends_on = [aws_iam_role_policy.instance]
}
