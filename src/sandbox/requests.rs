//! The bodies that the server's calls take: names and Go types, as data.

use super::go::{Field, Kind, Shape};

const fn field(json: &'static str, kind: Kind) -> Field {
    Field {
        json,
        embedded: None,
        kind,
    }
}

/// A field of the struct `SendMsg`, which several requests embed; Go names it in its texts.
const fn send(json: &'static str, kind: Kind) -> Field {
    Field {
        json,
        embedded: Some("SendMsg"),
        kind,
    }
}

use Kind::{Bool, Int32, Int64, Map, Struct, Structs, Text, Texts};

pub(super) const EMPTY: Shape = Shape {
    name: "apistruct.Empty",
    fields: &[],
};

const PAGINATION: Shape = Shape {
    name: "sdkws.RequestPagination",
    fields: &[field("pageNumber", Int32), field("showNumber", Int32)],
};

pub(super) const GET_ADMIN_TOKEN: Shape = Shape {
    name: "auth.GetAdminTokenReq",
    fields: &[field("secret", Text), field("userID", Text)],
};
pub(super) const GET_USER_TOKEN: Shape = Shape {
    name: "auth.GetUserTokenReq",
    fields: &[field("platformID", Int32), field("userID", Text)],
};
pub(super) const PARSE_TOKEN: Shape = Shape {
    name: "auth.ParseTokenReq",
    fields: &[field("token", Text)],
};
pub(super) const FORCE_LOGOUT: Shape = Shape {
    name: "auth.ForceLogoutReq",
    fields: &[field("platformID", Int32), field("userID", Text)],
};

const USER_INFO: Shape = Shape {
    name: "sdkws.UserInfo",
    fields: &[
        field("userID", Text),
        field("nickname", Text),
        field("faceURL", Text),
        field("ex", Text),
    ],
};
pub(super) const USER_REGISTER: Shape = Shape {
    name: "user.UserRegisterReq",
    fields: &[field("users", Structs(&USER_INFO))],
};
pub(super) const ACCOUNT_CHECK: Shape = Shape {
    name: "user.AccountCheckReq",
    fields: &[field("checkUserIDs", Texts)],
};
pub(super) const GET_USERS_INFO: Shape = Shape {
    name: "user.GetDesignateUsersReq",
    fields: &[field("userIDs", Texts)],
};
pub(super) const GET_USERS: Shape = Shape {
    name: "user.GetPaginationUsersReq",
    fields: &[
        field("pagination", Struct(&PAGINATION)),
        field("userID", Text),
        field("nickName", Text),
    ],
};
pub(super) const GET_ALL_USERS_UID: Shape = Shape {
    name: "user.GetAllUserIDReq",
    fields: &[field("pagination", Struct(&PAGINATION))],
};
pub(super) const SET_GLOBAL_MSG_RECV_OPT: Shape = Shape {
    name: "user.SetGlobalRecvMessageOptReq",
    fields: &[field("userID", Text), field("globalRecvMsgOpt", Int32)],
};
pub(super) const NOTIFICATION_ACCOUNT: Shape = Shape {
    name: "user.AddNotificationAccountReq",
    fields: &[
        field("userID", Text),
        field("nickName", Text),
        field("faceURL", Text),
        field("appMangerLevel", Int32),
    ],
};
pub(super) const SEARCH_NOTIFICATION_ACCOUNT: Shape = Shape {
    name: "user.SearchNotificationAccountReq",
    fields: &[
        field("keyword", Text),
        field("pagination", Struct(&PAGINATION)),
    ],
};

const GROUP_INFO: Shape = Shape {
    name: "sdkws.GroupInfo",
    fields: &[
        field("groupID", Text),
        field("groupName", Text),
        field("notification", Text),
        field("introduction", Text),
        field("faceURL", Text),
        field("ex", Text),
        field("groupType", Int32),
    ],
};
pub(super) const CREATE_GROUP: Shape = Shape {
    name: "group.CreateGroupReq",
    fields: &[
        field("memberUserIDs", Texts),
        field("groupInfo", Struct(&GROUP_INFO)),
        field("adminUserIDs", Texts),
        field("ownerUserID", Text),
        field("sendMessage", Bool),
    ],
};
pub(super) const GET_GROUPS_INFO: Shape = Shape {
    name: "group.GetGroupsInfoReq",
    fields: &[field("groupIDs", Texts)],
};
pub(super) const GET_GROUPS: Shape = Shape {
    name: "group.GetGroupsReq",
    fields: &[
        field("pagination", Struct(&PAGINATION)),
        field("groupName", Text),
        field("groupID", Text),
    ],
};
pub(super) const GET_GROUP_MEMBERS_INFO: Shape = Shape {
    name: "group.GetGroupMembersInfoReq",
    fields: &[field("groupID", Text), field("userIDs", Texts)],
};
pub(super) const GET_GROUP_MEMBER_LIST: Shape = Shape {
    name: "group.GetGroupMemberListReq",
    fields: &[
        field("pagination", Struct(&PAGINATION)),
        field("groupID", Text),
        field("filter", Int32),
        field("keyword", Text),
    ],
};
pub(super) const GET_JOINED_GROUP_LIST: Shape = Shape {
    name: "group.GetJoinedGroupListReq",
    fields: &[
        field("pagination", Struct(&PAGINATION)),
        field("fromUserID", Text),
    ],
};
pub(super) const INVITE_USER_TO_GROUP: Shape = Shape {
    name: "group.InviteUserToGroupReq",
    fields: &[
        field("groupID", Text),
        field("reason", Text),
        field("invitedUserIDs", Texts),
        field("sendMessage", Bool),
    ],
};
pub(super) const ONE_GROUP: Shape = Shape {
    name: "group.MuteGroupReq",
    fields: &[field("groupID", Text), field("deleteMember", Bool)],
};
pub(super) const MUTE_GROUP_MEMBER: Shape = Shape {
    name: "group.MuteGroupMemberReq",
    fields: &[
        field("groupID", Text),
        field("userID", Text),
        field("mutedSeconds", Int64),
    ],
};
pub(super) const ADD_BLACK: Shape = Shape {
    name: "relation.AddBlackReq",
    fields: &[
        field("ownerUserID", Text),
        field("blackUserID", Text),
        field("ex", Text),
    ],
};
pub(super) const SET_CONVERSATIONS: Shape = Shape {
    name: "conversation.SetConversationsReq",
    fields: &[field("userIDs", Texts), field("conversation", Map)],
};

const OFFLINE_PUSH: Shape = Shape {
    name: "sdkws.OfflinePushInfo",
    fields: &[
        field("title", Text),
        field("desc", Text),
        field("ex", Text),
        field("iOSPushSound", Text),
        field("iOSBadgeCount", Bool),
        field("signalInfo", Text),
    ],
};

macro_rules! send_msg {
    ($($more:expr),* $(,)?) => {
        &[
            $($more,)*
            send("sendID", Text),
            send("groupID", Text),
            send("senderNickname", Text),
            send("senderFaceURL", Text),
            send("senderPlatformID", Int32),
            send("content", Map),
            send("contentType", Int32),
            send("sessionType", Int32),
            send("isOnlineOnly", Bool),
            send("notOfflinePush", Bool),
            send("sendTime", Int64),
            send("offlinePushInfo", Struct(&OFFLINE_PUSH)),
            send("ex", Text),
        ]
    };
}

pub(super) const SEND_MSG: Shape = Shape {
    name: "apistruct.SendMsgReq",
    fields: send_msg![field("recvID", Text)],
};
pub(super) const BATCH_SEND_MSG: Shape = Shape {
    name: "apistruct.BatchSendMsgReq",
    fields: send_msg![field("isSendAll", Bool), field("recvIDs", Texts)],
};
pub(super) const SEND_BUSINESS_NOTIFICATION: Shape = Shape {
    name: "apistruct.SendBusinessNotificationReq",
    fields: &[
        field("key", Text),
        field("data", Text),
        field("sendUserID", Text),
        field("recvUserID", Text),
        field("recvGroupID", Text),
    ],
};
pub(super) const SEND_SIMPLE_MSG: Shape = Shape {
    name: "apistruct.SendSingleMsgReq",
    fields: &[
        field("sendID", Text),
        field("content", Text),
        field("offlinePushInfo", Struct(&OFFLINE_PUSH)),
        field("ex", Text),
    ],
};
pub(super) const NEWEST_SEQ: Shape = Shape {
    name: "sdkws.GetMaxSeqReq",
    fields: &[field("userID", Text)],
};
pub(super) const CONVERSATION_SEQS: Shape = Shape {
    name: "msg.GetConversationsHasReadAndMaxSeqReq",
    fields: &[field("userID", Text), field("conversationIDs", Texts)],
};
const SEQ_RANGE: Shape = Shape {
    name: "sdkws.SeqRange",
    fields: &[
        field("conversationID", Text),
        field("begin", Int64),
        field("end", Int64),
        field("num", Int64),
    ],
};
pub(super) const PULL_MSG_BY_SEQ: Shape = Shape {
    name: "sdkws.PullMessageBySeqsReq",
    fields: &[
        field("userID", Text),
        field("seqRanges", Structs(&SEQ_RANGE)),
        field("order", Int32),
    ],
};
pub(super) const REVOKE_MSG: Shape = Shape {
    name: "msg.RevokeMsgReq",
    fields: &[
        field("conversationID", Text),
        field("seq", Int64),
        field("userID", Text),
    ],
};
