# The policies of the two roles, as iam-policy prints them; a test compares them. After a change of the
# instances' settings that a policy depends on (stages, tags, a KMS key, another source) print them anew.
# docs/permissions.md says what each statement is for.

data "aws_partition" "current" {}

locals {
  ec2       = "arn:${data.aws_partition.current.partition}:ec2:*:*"
  snapshots = "arn:${data.aws_partition.current.partition}:ec2:*::snapshot/*"
}

# snapsource iam-policy --source SOURCE --role ROLE --group NAME --launch-template ID
resource "aws_iam_role_policy" "instance" {
  name = "snapsource"
  role = aws_iam_role.instance.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Read"
        Effect = "Allow"
        Action = [
          "autoscaling:DescribeAutoScalingInstances",
          "autoscaling:DescribeLifecycleHooks",
          "ec2:DescribeInstances",
          "ec2:DescribeSnapshots",
          "ec2:DescribeVolumes",
        ]
        Resource = ["*"]
      },
      {
        Sid      = "CreateOwnVolumes"
        Effect   = "Allow"
        Action   = ["ec2:CreateVolume"]
        Resource = ["${local.ec2}:volume/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${aws:RequestTag/snapsource:instance}"]
          }
          StringEquals = {
            "aws:RequestTag/snapsource:source" = [var.source_name]
          }
        }
      },
      {
        Sid      = "FromSnapshotsOfTheSource"
        Effect   = "Allow"
        Action   = ["ec2:CreateVolume"]
        Resource = [local.snapshots]
        Condition = {
          StringEquals = {
            "aws:ResourceTag/Name" = [var.source_name]
          }
        }
      },
      {
        Sid      = "TagNewVolumes"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = ["${local.ec2}:volume/*"]
        Condition = {
          StringEquals = {
            "ec2:CreateAction" = ["CreateVolume"]
          }
        }
      },
      {
        Sid      = "UseOwnVolumes"
        Effect   = "Allow"
        Action   = ["ec2:AttachVolume", "ec2:DeleteVolume", "ec2:DetachVolume", "ec2:ModifyInstanceAttribute"]
        Resource = ["${local.ec2}:volume/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${aws:ResourceTag/snapsource:instance}"]
          }
        }
      },
      {
        Sid      = "AttachToThisInstance"
        Effect   = "Allow"
        Action   = ["ec2:AttachVolume", "ec2:DetachVolume"]
        Resource = ["${local.ec2}:instance/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${ec2:InstanceID}"]
          }
        }
      },
      {
        Sid      = "DeleteOnTermination"
        Effect   = "Allow"
        Action   = ["ec2:ModifyInstanceAttribute"]
        Resource = ["${local.ec2}:instance/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${ec2:InstanceID}"]
          }
          StringEqualsIfExists = {
            "ec2:Attribute" = ["BlockDeviceMapping"]
          }
        }
      },
      {
        Sid      = "MarkOwnVolumes"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = ["${local.ec2}:volume/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${aws:ResourceTag/snapsource:instance}"]
          }
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = ["snapsource:formatted", "snapsource:started"]
          }
        }
      },
      {
        Sid      = "PutOwnRoles"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = ["${local.ec2}:instance/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${ec2:InstanceID}"]
          }
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = ["Roles", "Stages", "Project", "snapsource:instance"]
          }
        }
      },
      {
        Sid      = "RemoveOwnRoles"
        Effect   = "Allow"
        Action   = ["ec2:DeleteTags"]
        Resource = ["${local.ec2}:instance/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${aws:ResourceTag/snapsource:instance}"]
          }
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = ["Roles", "Stages", "Project"]
          }
          Null = {
            "aws:TagKeys" = ["false"]
          }
        }
      },
      {
        Sid      = "CompleteTheLaunchHook"
        Effect   = "Allow"
        Action   = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
        Resource = ["arn:${data.aws_partition.current.partition}:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/${var.name}"]
      },
      {
        Sid      = "ClaimVolumesOfTheLaunch"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = ["${local.ec2}:volume/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${aws:RequestTag/snapsource:instance}"]
          }
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = [
              "Name",
              "snapsource:source",
              "snapsource:instance",
              "snapsource:snapshot",
              "snapsource:started",
              "snapsource:discarded",
            ]
          }
          Null = {
            "aws:ResourceTag/snapsource:instance" = ["true"]
          }
          StringLike = {
            "aws:ResourceTag/snapsource:source" = [var.source_name, "${var.source_name} *", "* ${var.source_name}", "* ${var.source_name} *"]
          }
        }
      },
    ]
  })
}

# snapsource iam-policy --for boot,deploy,operator --source SOURCE --launch-template ID
resource "aws_iam_role_policy" "deploy" {
  name = "snapsource"
  role = aws_iam_role.deploy.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Read"
        Effect = "Allow"
        Action = [
          "autoscaling:DescribeAutoScalingGroups",
          "ec2:DescribeInstances",
          "ec2:DescribeLaunchTemplateVersions",
          "ec2:DescribeSnapshots",
          "ec2:DescribeVolumes",
        ]
        Resource = ["*"]
      },
      {
        Sid      = "CreateOwnVolumes"
        Effect   = "Allow"
        Action   = ["ec2:CreateVolume"]
        Resource = ["${local.ec2}:volume/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${aws:RequestTag/snapsource:instance}"]
          }
          StringEquals = {
            "aws:RequestTag/snapsource:source" = [var.source_name]
          }
        }
      },
      {
        Sid      = "FromSnapshotsOfTheSource"
        Effect   = "Allow"
        Action   = ["ec2:CreateVolume"]
        Resource = [local.snapshots]
        Condition = {
          StringEquals = {
            "aws:ResourceTag/Name" = [var.source_name]
          }
        }
      },
      {
        Sid      = "TagNewVolumes"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = ["${local.ec2}:volume/*"]
        Condition = {
          StringEquals = {
            "ec2:CreateAction" = ["CreateVolume"]
          }
        }
      },
      {
        Sid      = "UseOwnVolumes"
        Effect   = "Allow"
        Action   = ["ec2:AttachVolume", "ec2:DeleteVolume", "ec2:DetachVolume", "ec2:ModifyInstanceAttribute"]
        Resource = ["${local.ec2}:volume/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${aws:ResourceTag/snapsource:instance}"]
          }
        }
      },
      {
        Sid      = "AttachToThisInstance"
        Effect   = "Allow"
        Action   = ["ec2:AttachVolume", "ec2:DetachVolume"]
        Resource = ["${local.ec2}:instance/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${ec2:InstanceID}"]
          }
        }
      },
      {
        Sid      = "DeleteOnTermination"
        Effect   = "Allow"
        Action   = ["ec2:ModifyInstanceAttribute"]
        Resource = ["${local.ec2}:instance/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${ec2:InstanceID}"]
          }
          StringEqualsIfExists = {
            "ec2:Attribute" = ["BlockDeviceMapping"]
          }
        }
      },
      {
        Sid      = "MarkOwnVolumes"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = ["${local.ec2}:volume/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${aws:ResourceTag/snapsource:instance}"]
          }
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = ["snapsource:formatted", "snapsource:started"]
          }
        }
      },
      {
        Sid      = "ClaimVolumesOfTheLaunch"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = ["${local.ec2}:volume/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${aws:RequestTag/snapsource:instance}"]
          }
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = [
              "Name",
              "snapsource:source",
              "snapsource:instance",
              "snapsource:snapshot",
              "snapsource:started",
              "snapsource:discarded",
            ]
          }
          Null = {
            "aws:ResourceTag/snapsource:instance" = ["true"]
          }
          StringLike = {
            "aws:ResourceTag/snapsource:source" = [var.source_name, "${var.source_name} *", "* ${var.source_name}", "* ${var.source_name} *"]
          }
        }
      },
      {
        Sid      = "SnapshotOwnVolumes"
        Effect   = "Allow"
        Action   = ["ec2:CreateSnapshot"]
        Resource = ["${local.ec2}:volume/*"]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${aws:ResourceTag/snapsource:instance}"]
          }
        }
      },
      {
        Sid      = "AsReleasesOfTheSource"
        Effect   = "Allow"
        Action   = ["ec2:CreateSnapshot"]
        Resource = [local.snapshots]
        Condition = {
          StringEquals = {
            "aws:RequestTag/snapsource:source" = [var.source_name]
          }
          StringEqualsIfExists = {
            "aws:RequestTag/Name"                 = [var.source_name]
            "aws:RequestTag/snapsource:candidate" = [var.source_name]
          }
        }
      },
      {
        Sid      = "TagNewSnapshots"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = [local.snapshots]
        Condition = {
          StringEquals = {
            "ec2:CreateAction" = ["CreateSnapshot"]
          }
        }
      },
      {
        Sid      = "RejectOwnSnapshots"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = [local.snapshots]
        Condition = {
          ArnLike = {
            "ec2:SourceInstanceARN" = ["${local.ec2}:instance/$${aws:ResourceTag/snapsource:instance}"]
          }
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = ["Name", "snapsource:source", "snapsource:rejected"]
          }
          StringEquals = {
            "aws:RequestTag/Name" = ["rejected: ${var.source_name}"]
          }
        }
      },
      {
        Sid      = "RejectOrPromoteByName"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = [local.snapshots]
        Condition = {
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = ["Name", "snapsource:source", "snapsource:rejected", "snapsource:promoted"]
          }
          StringEquals = {
            "aws:RequestTag/Name"              = [var.source_name, "rejected: ${var.source_name}"]
            "aws:RequestTag/snapsource:source" = [var.source_name]
            "aws:ResourceTag/Name"             = [var.source_name, "rejected: ${var.source_name}"]
          }
        }
      },
      {
        Sid      = "RejectOrPromoteCandidates"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = [local.snapshots]
        Condition = {
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = ["Name", "snapsource:source", "snapsource:rejected", "snapsource:promoted"]
          }
          StringEquals = {
            "aws:RequestTag/Name"               = [var.source_name, "rejected: ${var.source_name}"]
            "aws:RequestTag/snapsource:source"  = [var.source_name]
            "aws:ResourceTag/snapsource:source" = [var.source_name]
          }
        }
      },
      {
        Sid      = "Promote"
        Effect   = "Allow"
        Action   = ["ec2:DeleteTags"]
        Resource = [local.snapshots]
        Condition = {
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = ["snapsource:rejected", "snapsource:snapshot", "snapsource:formatted", "snapsource:started"]
          }
          Null = {
            "aws:TagKeys" = ["false"]
          }
          StringEquals = {
            "aws:ResourceTag/snapsource:source" = [var.source_name]
          }
        }
      },
      {
        Sid      = "CopyAsReleasesOfTheSource"
        Effect   = "Allow"
        Action   = ["ec2:CopySnapshot"]
        Resource = ["arn:${data.aws_partition.current.partition}:ec2:*::snapshot/$${*}"]
        Condition = {
          Null = {
            "aws:RequestTag/snapsource:candidate" = ["true"]
          }
          StringEquals = {
            "aws:RequestTag/Name"              = [var.source_name]
            "aws:RequestTag/snapsource:source" = [var.source_name]
          }
        }
      },
      {
        Sid      = "CopyFromTheAccount"
        Effect   = "Allow"
        Action   = ["ec2:CopySnapshot"]
        Resource = ["arn:${data.aws_partition.current.partition}:ec2:*::snapshot/snap-*"]
        Condition = {
          StringEquals = {
            "ec2:Owner" = ["$${aws:PrincipalAccount}"]
          }
        }
      },
      {
        Sid      = "TagNewCopies"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = [local.snapshots]
        Condition = {
          StringEquals = {
            "ec2:CreateAction" = ["CopySnapshot"]
          }
        }
      },
      {
        Sid      = "CompleteCopies"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = [local.snapshots]
        Condition = {
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = ["snapsource:promoted"]
          }
          Null = {
            "aws:ResourceTag/snapsource:original" = ["false"]
          }
          StringEquals = {
            "aws:ResourceTag/Name" = [var.source_name]
          }
        }
      },
      {
        Sid    = "PublishInLaunchTemplates"
        Effect = "Allow"
        Action = [
          "ec2:CreateLaunchTemplateVersion",
          "ec2:DeleteLaunchTemplateVersions",
          "ec2:ModifyLaunchTemplate",
        ]
        Resource = ["${local.ec2}:launch-template/${aws_launch_template.app.id}"]
      },
      {
        Sid      = "DeleteSnapshots"
        Effect   = "Allow"
        Action   = ["ec2:DeleteSnapshot"]
        Resource = [local.snapshots]
        Condition = {
          StringEquals = {
            "aws:ResourceTag/Name" = [var.source_name, "rejected: ${var.source_name}"]
          }
        }
      },
      {
        Sid      = "DeleteVolumes"
        Effect   = "Allow"
        Action   = ["ec2:DeleteVolume"]
        Resource = ["${local.ec2}:volume/*"]
        Condition = {
          StringEquals = {
            "aws:ResourceTag/snapsource:source" = [var.source_name]
          }
        }
      },
    ]
  })
}
